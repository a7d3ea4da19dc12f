// SPDX-License-Identifier: Apache-2.0
#include "fusefs/direct_write_fence.h"

#include <chrono>
#include <utility>

#include "fusefs/inodes.h"

namespace chainfs::fusefs {
namespace {

// A thread waits this long for the next write.
constexpr std::chrono::milliseconds kLinger{50};

}  // namespace

void DirectWriteFence::Start(fuse_session* session) {
  const MutexLock lock(mu_);
  session_ = notified_ = session;
}

void DirectWriteFence::Reply(const Waiting& waiting) {
  if (waiting.change.error != 0) {
    fuse_reply_err(waiting.req, waiting.change.error);
  } else {
    fuse_reply_write(waiting.req, waiting.change.size);
  }
}

void DirectWriteFence::Answer(fuse_req_t req, const NodePtr& node, const Change& change) {
  JoinEnded();
  bool taken = false;
  {
    const MutexLock lock(mu_);
    if (session_ != nullptr) {
      Lane& lane = lanes_[node.get()];
      if (!lane.thread.joinable()) Begin(node, &lane);
      taken = waiting_ < kMaxWaiting;
      if (taken) {
        lane.queue.push_back({.req = req, .change = change});
        ++waiting_;
      } else {
        lane.drop_all = true;
      }
      lane.news.NotifyOne();
    }
  }
  if (!taken) Reply({.req = req, .change = change});
}

// Nothing is queued yet when this throws; the request fails, and its program writes again.
void DirectWriteFence::Begin(const NodePtr& node, Lane* lane) {
  try {
    lane->thread = std::thread([this, node] { Serve(node); });
  } catch (...) {
    lanes_.erase(node.get());
    throw;
  }
}

void DirectWriteFence::Serve(const NodePtr& node) {
  std::deque<Waiting> queue;
  bool drop_all = false;
  while (Next(*node, &queue, &drop_all)) Drop(*node, queue, drop_all);
}

bool DirectWriteFence::Next(const Node& node, std::deque<Waiting>* queue, bool* drop_all) {
  const auto deadline = std::chrono::steady_clock::now() + kLinger;
  const MutexLock lock(mu_);
  waiting_ -= static_cast<int>(queue->size());
  queue->clear();
  Lane& lane = lanes_.at(&node);
  while (session_ != nullptr && lane.queue.empty() && !lane.drop_all) {
    if (!lane.news.WaitUntil(mu_, deadline)) break;
  }
  *drop_all = std::exchange(lane.drop_all, false);
  queue->swap(lane.queue);
  if (*drop_all || !queue->empty()) return true;
  ended_.push_back(std::move(lane.thread));
  lanes_.erase(&node);
  lane_ended_.NotifyAll();
  return false;
}

// Errors mean that the kernel knows no such inode: no pages either.
void DirectWriteFence::Drop(Node& node, const std::deque<Waiting>& queue, bool drop_all) {
  // When nobody is there who would read them again, all pages go at once, and later writes need no
  // fence.
  const bool all = drop_all || !node.pages.HasCachedOpeners();
  if (all) {
    const uint64_t fills = node.pages.fills();
    fuse_lowlevel_notify_inval_inode(notified_, node.ino, 0, 0);
    node.pages.Dropped(fills);
  }
  for (const Waiting& waiting : queue) {
    const auto& [offset, size, error] = waiting.change;
    if (!all) {
      fuse_lowlevel_notify_inval_inode(notified_, node.ino, offset, static_cast<off_t>(size));
    }
    Reply(waiting);
  }
}

void DirectWriteFence::JoinEnded() {
  std::vector<std::thread> ended;
  {
    const MutexLock lock(mu_);
    ended.swap(ended_);
  }
  for (std::thread& thread : ended) thread.join();
}

void DirectWriteFence::Quiesce() {
  std::deque<Waiting> queue;
  {
    const MutexLock lock(mu_);
    session_ = nullptr;
    for (auto& [node, lane] : lanes_) {
      queue.insert(queue.end(), lane.queue.begin(), lane.queue.end());
      lane.queue.clear();
      lane.news.NotifyAll();
    }
    waiting_ -= static_cast<int>(queue.size());
  }
  for (const Waiting& waiting : queue) Reply(waiting);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  const MutexLock lock(mu_);
  while (!lanes_.empty()) {
    if (!lane_ended_.WaitUntil(mu_, deadline)) return;
  }
}

void DirectWriteFence::Stop() {
  {
    const MutexLock lock(mu_);
    session_ = nullptr;
    for (auto& [node, lane] : lanes_) lane.news.NotifyAll();
    while (!lanes_.empty()) lane_ended_.Wait(mu_);
  }
  JoinEnded();
}

}  // namespace chainfs::fusefs
