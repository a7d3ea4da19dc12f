// SPDX-License-Identifier: Apache-2.0
//
// EventsFile: .chainfs/events, JSON Lines for any number of readers. Each open file has its own
// cursor. A read with nothing to say is *parked*: its request is kept and answered when there is
// news, so no thread waits.
//
// Invariants: FS-6, FS-10 (README.md).
//
// Locks: mu_ guards cursors and lists; replies and poll notifications are sent after it is dropped.
// libfuse's session lock may be taken under mu_, never the other way round.
// Threads: all methods, any thread; the pump is a thread of its own, started by Start.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "blocklayer/base/sync.h"
#include "fusefs/fuse_api.h"
#include "jobs/engine/event_log.h"

namespace chainfs::fusefs {

class EventsFile {
 public:
  static constexpr size_t kMaxReaders = 1024;  // open files
  static constexpr size_t kMaxParked = 4096;   // requests

  explicit EventsFile(jobs::EventLog& log);
  ~EventsFile();

  struct Reader {
    uint64_t cursor = 0;              // guarded by EventsFile::mu_
    fuse_pollhandle* poll = nullptr;  // the same
    bool released = false;            // the same
  };

  // From the oldest retained event on. Null when there are too many readers.
  std::unique_ptr<Reader> Open() EXCLUDES(mu_);
  void Close(std::unique_ptr<Reader> reader) EXCLUDES(mu_);
  // Answers or parks the request. `reader` must stay open until it is answered (the kernel sees
  // to that). Returns an errno to reply with, or -1 when that has been taken care of.
  int Read(fuse_req_t req, Reader* reader, size_t size, bool nonblocking) EXCLUDES(mu_);
  // The poll events that hold now; keeps `handle` (may be null) to notify later.
  unsigned Poll(Reader* reader, fuse_pollhandle* handle) EXCLUDES(mu_);

  // Those who read now get what is left, then end of file, so that their files can be closed and
  // the mount unmounted. Whoever opens later reads as ever.
  void Release() EXCLUDES(mu_);
  // Readers get what is left, then end of file, from now on.
  void End() EXCLUDES(mu_);
  // Ends, answers everything, stops the pump. No request may arrive afterwards.
  void Stop() EXCLUDES(mu_);

 private:
  struct Parked {
    fuse_req_t req;
    Reader* reader;
    size_t size;
  };

  static void OnInterrupt(fuse_req_t req, void* self);
  void Wake() EXCLUDES(kick_mu_);
  void PumpLoop();
  // One pass over everything that waits.
  void Pump() EXCLUDES(mu_);

  jobs::EventLog& log_;
  uint64_t news_ = 0;  // the number of our callback there

  Mutex kick_mu_;  // may be taken with any other lock held; nothing is taken under it
  CondVar kicked_;
  bool kick_ GUARDED_BY(kick_mu_) = false;
  bool stop_ GUARDED_BY(kick_mu_) = false;

  Mutex mu_;
  bool ended_ GUARDED_BY(mu_) = false;
  std::list<Reader*> readers_ GUARDED_BY(mu_);
  std::list<Parked> parked_ GUARDED_BY(mu_);

  std::thread pump_;
};

}  // namespace chainfs::fusefs
