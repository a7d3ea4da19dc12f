// SPDX-License-Identifier: Apache-2.0
#include "fusefs/invalidator.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "fusefs/without_files.h"

namespace chainfs::fusefs {

Invalidator::~Invalidator() { Stop(); }

void Invalidator::Start(fuse_session* session, int abort_switch) {
  {
    const MutexLock lock(mu_);
    running_ = true;
    ended_ = false;
  }
  // A call waits for the lock of a directory as long as somebody waits for a look-up in it.
  const std::vector<int> kept = {fuse_session_fd(session), abort_switch};
  thread_ = std::thread([this, session, kept] {
    LeaveFiles(kept);
    Loop(session);
  });
}

void Invalidator::Quiesce() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  const MutexLock lock(mu_);
  running_ = false;
  queue_.clear();
  news_.NotifyAll();
  while (!ended_) {
    if (!news_.WaitUntil(mu_, deadline)) return;
  }
}

void Invalidator::Stop() {
  {
    const MutexLock lock(mu_);
    running_ = false;
    queue_.clear();
  }
  news_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Invalidator::Attributes(uint64_t ino) { Queue({.ino = ino, .name = ""}); }

void Invalidator::Contents(uint64_t ino, std::function<void()> done) {
  {
    const MutexLock lock(mu_);
    if (running_) {
      contents_.push_back({.ino = ino, .from = 0, .done = std::move(done)});
      news_.NotifyAll();
      return;
    }
  }
  done();
}

bool Invalidator::WriteBack(uint64_t ino, uint64_t from, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  // It may be done when nobody waits for it any more.
  const auto done = std::make_shared<std::atomic<bool>>(false);
  const MutexLock lock(mu_);
  if (running_) {
    contents_.push_back({.ino = ino, .from = from, .done = [this, done] {
                           *done = true;
                           const MutexLock locked(mu_);
                           news_.NotifyAll();
                         }});
    news_.NotifyAll();
  }
  while (running_ && !*done) {
    if (!news_.WaitUntil(mu_, deadline)) break;
  }
  return *done;
}

void Invalidator::Entry(uint64_t directory, const std::string& name) {
  Queue({.ino = directory, .name = name});
}

void Invalidator::Queue(Item item) {
  {
    const MutexLock lock(mu_);
    if (!running_) return;
    queue_.insert(std::move(item));
  }
  news_.NotifyAll();
}

void Invalidator::Loop(fuse_session* session) {
  for (;;) {
    Item item;
    Pages pages = {};
    {
      const MutexLock lock(mu_);
      while (running_ && queue_.empty() && contents_.empty()) news_.Wait(mu_);
      if (!running_) {
        ended_ = true;
        news_.NotifyAll();
        return;
      }
      if (!contents_.empty()) {
        pages = std::move(contents_.front());
        contents_.pop_front();
      } else {
        item = std::move(queue_.extract(queue_.begin()).value());
      }
    }
    // Errors mean that the kernel knows no such inode or name: nothing to forget.
    if (pages.done) {
      // A length of 0 is everything from there on.
      fuse_lowlevel_notify_inval_inode(session, pages.ino, static_cast<off_t>(pages.from), 0);
      pages.done();
    } else if (item.name.empty()) {
      fuse_lowlevel_notify_inval_inode(session, item.ino, -1, 0);
    } else {
      fuse_lowlevel_notify_inval_entry(session, item.ino, item.name.c_str(), item.name.size());
    }
  }
}

}  // namespace chainfs::fusefs
