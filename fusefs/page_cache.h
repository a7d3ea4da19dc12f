// SPDX-License-Identifier: Apache-2.0
//
// The kernel's page cache of a disk beside direct I/O. README.md, "Two ways in", has the rules and
// the reason for each; here is what is remembered for one disk, and the fence that direct writes
// pass.
//
// Requests tell by themselves what they are, on every kernel: a direct read or write names its
// lock owner, one that fills a page of the cache or comes from there names none.
//
// P1  While a handle that bypasses the cache is open, no handle that could make a page of the cache
//     dirty is open, except one that bypasses it too.
// P2  A page that the kernel may hold was filled by a request that was counted before the disk was
//     read or written for it.
// P3  A direct write is answered when no page holds what was there before it (but for kMaxWaiting).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"
#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

struct Node;

enum class WayIn : uint8_t {
  kCached,  // through the page cache; O_DIRECT is then the kernel's own affair
  kDirect,  // FOPEN_DIRECT_IO
};

// Threads: all methods, any thread.
class PageCache {
 public:
  // Decides how an opener goes in, and counts it until Leave. Waits up to 50 ms for openers of the
  // other way who have closed the file: the kernel tells of that a moment after their close().
  WayIn Enter(bool wants_direct, bool writes) EXCLUDES(mu_);
  // For `-o direct_io`: kDirect whoever is there.
  void EnterDirect() EXCLUDES(mu_);
  void Leave(WayIn way, bool writes) EXCLUDES(mu_);

  // Before the disk is touched for a request that fills a page.
  void Filled() { fills_.fetch_add(1); }
  // Whether there may be pages, asked after the disk was written.
  bool MayHoldPages() const { return fills_.load() != dropped_.load(); }
  uint64_t fills() const { return fills_.load(); }
  // All pages were dropped after fills() was `fills`.
  void Dropped(uint64_t fills) { dropped_.store(fills); }
  bool HasCachedOpeners() const EXCLUDES(mu_);

 private:
  // Whether openers of the other way keep such an opener from its own.
  bool Barred(bool wants_direct, bool writes) const REQUIRES(mu_) {
    return wants_direct ? cached_writers_ > 0 : writes && directs_ > 0;
  }

  std::atomic<uint64_t> fills_ = 0;
  std::atomic<uint64_t> dropped_ = 0;  // pages of earlier fills are gone; written by one thread

  mutable Mutex mu_;
  CondVar left_;
  int cached_readers_ GUARDED_BY(mu_) = 0;
  int cached_writers_ GUARDED_BY(mu_) = 0;
  int directs_ GUARDED_BY(mu_) = 0;
};

// Answers direct writes once the kernel has dropped the pages of their range. That can wait for
// pages that are being read, whose requests we have yet to serve, so it happens on a thread for
// each disk that needs it, which holds no lock, and which ends when there is nothing to do.
//
// Threads: all methods, any thread. mu_ is held for queue operations only.
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
