// SPDX-License-Identifier: Apache-2.0
//
// Invalidator: tells the kernel what it must forget, from a thread of its own. The calls can wait
// for requests that are being served, so they are made with no lock held and never from a handler;
// whoever has news publishes it first, then queues.
//
// Attributes are invalidated with a negative offset, which touches no cached page: a disk's
// contents change only by writes that pass through the kernel, and when it is reverted.
//
// The queue holds each entry at most once, so it is bounded by the number of disks ever shown.
//
// Threads: all methods, any thread. mu_ is held for queue operations only.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "blocklayer/base/sync.h"
#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

class Invalidator {
 public:
  Invalidator() = default;
  ~Invalidator();

  // Nothing is sent before; what was queued until then is dropped (the kernel knows nothing yet).
  // The thread keeps no files but those of `session` and `abort_switch` (without_files.h).
  void Start(fuse_session* session, int abort_switch) EXCLUDES(mu_);
  // What is queued is dropped, and nothing more is sent. Waits, but not for ever, for a call under
  // way: afterwards the session's descriptor may be closed, because a call that still waits is
  // inside the kernel and has no more use for the number.
  void Quiesce() EXCLUDES(mu_);
  // After the connection has ended. The session may be destroyed afterwards.
  void Stop() EXCLUDES(mu_);

  void Attributes(uint64_t ino) EXCLUDES(mu_);
  // Attributes and all cached pages, because the contents are others now; `done` is called when the
  // kernel has them no more, and must hold nothing that has files open: the thread has none.
  void Contents(uint64_t ino, std::function<void()> done) EXCLUDES(mu_);
  // Has the kernel write back what programs have changed of the pages from the byte `from` on, and
  // forget these; waits until that is done. False when it is not after `patience`, or at the end of
  // the session. What it writes must be served meanwhile: with no lock held.
  bool WriteBack(uint64_t ino, uint64_t from, std::chrono::milliseconds patience) EXCLUDES(mu_);
  // The name in `directory` leads elsewhere, or nowhere, now.
  void Entry(uint64_t directory, const std::string& name) EXCLUDES(mu_);

 private:
  struct Item {
    uint64_t ino;
    std::string name;  // empty: the attributes of ino
    auto operator<=>(const Item&) const = default;
  };
  struct Pages {
    uint64_t ino;
    uint64_t from;  // a byte of the first one
    std::function<void()> done;
  };

  void Queue(Item item) EXCLUDES(mu_);
  void Loop(fuse_session* session) EXCLUDES(mu_);

  Mutex mu_;
  CondVar news_;  // of all the state below
  std::set<Item> queue_ GUARDED_BY(mu_);
  std::deque<Pages> contents_ GUARDED_BY(mu_);
  bool running_ GUARDED_BY(mu_) = false;
  bool ended_ GUARDED_BY(mu_) = true;  // the thread will send nothing more
  std::thread thread_;
};

}  // namespace chainfs::fusefs
