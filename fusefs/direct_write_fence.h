// SPDX-License-Identifier: Apache-2.0
//
// DirectWriteFence: answers direct writes once the kernel has dropped the pages of their range.
// That can wait for pages that are being read, whose requests we have yet to serve, so it happens
// on a thread for each disk that needs it, which holds no lock, and which ends when there is
// nothing to do.
//
// Threads: all methods, any thread. mu_ is held for queue operations only.
#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"
#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

struct Node;

class DirectWriteFence {
 public:
  // Background requests wait for each other in the kernel when there are too many (kMaxBackground):
  // so that a read which is to fill a page always finds room, no more writes than these wait at
  // once. Another one is answered first, and all pages are dropped thereafter.
  static constexpr int kMaxWaiting = 32;

  DirectWriteFence() = default;
  ~DirectWriteFence() { Stop(); }

  // Before it, and after Quiesce, writes are answered at once.
  void Start(fuse_session* session) EXCLUDES(mu_);
  struct Change {
    off_t offset;
    size_t size;  // what is answered to a write that succeeded
    int error;    // 0, or what is answered instead
  };
  // Takes a request that has changed the disk already, or a part of the range if it failed.
  void Answer(fuse_req_t req, const std::shared_ptr<Node>& node, const Change& change)
      EXCLUDES(mu_);
  // Answers what waits. As Invalidator::Quiesce: waits, not for ever, for calls under way.
  void Quiesce() EXCLUDES(mu_);
  // After the connection has ended.
  void Stop() EXCLUDES(mu_);

 private:
  struct Waiting {
    fuse_req_t req;
    Change change;
  };
  struct Lane {
    std::deque<Waiting> queue;
    bool drop_all = false;  // a change was answered before
    CondVar news;
    std::thread thread;
  };

  void Begin(const std::shared_ptr<Node>& node, Lane* lane) REQUIRES(mu_);
  static void Reply(const Waiting& waiting);
  void Serve(const std::shared_ptr<Node>& node) EXCLUDES(mu_);
  // False at the end of the lane, which is then gone.
  bool Next(const Node& node, std::deque<Waiting>* queue, bool* drop_all) EXCLUDES(mu_);
  void Drop(Node& node, const std::deque<Waiting>& queue, bool drop_all);
  void JoinEnded() EXCLUDES(mu_);

  Mutex mu_;
  CondVar lane_ended_;
  fuse_session* session_ GUARDED_BY(mu_) = nullptr;  // null: not running
  fuse_session* notified_ = nullptr;                 // the same, set before the first lane begins
  std::map<const Node*, Lane> lanes_ GUARDED_BY(mu_);
  std::vector<std::thread> ended_ GUARDED_BY(mu_);  // to be joined; they do nothing more
  int waiting_ GUARDED_BY(mu_) = 0;                 // requests taken and not answered
};

}  // namespace chainfs::fusefs
