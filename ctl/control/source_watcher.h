// SPDX-License-Identifier: Apache-2.0
//
// SourceWatcher: notices new, changed and vanished images, and has the catalog look. inotify tells;
// a short pause collects what belongs together. inotify knows nothing of changes that another host
// makes on a network file system, so openers who ask for something unknown can also ask for a look.
//
// A look-up that arrives while news is pending waits for the scan without holding a thread: the
// request is parked as a continuation (AfterScan). It waits for so long and no longer, whatever the
// scan does, and not at all once it was interrupted (Hurry).
//
// Threads: all methods, any thread. Two threads of its own: one scans, with no lock held, one ends
// the waiting of those who have waited long enough; mu_ is held for list operations only.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "blocklayer/base/backoff.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/base/unique_fd.h"
#include "blocklayer/catalog/catalog.h"

namespace chainfs::control {

class SourceWatcher {
 public:
  using Continuation = std::function<void()>;

  // `after_scan` runs on the watcher's thread after every scan, before the continuations.
  SourceWatcher(Catalog& catalog, std::function<void()> after_scan);
  ~SourceWatcher();

  void Start();
  // Runs what waits, without a scan. Nothing may be queued afterwards.
  void Stop() EXCLUDES(mu_);

  // Who waits; never 0, never given twice.
  uint64_t NewTicket() { return ++tickets_; }
  // A scan is due, whatever inotify says. Never blocks.
  void ScanSoon() EXCLUDES(mu_);
  // When the sources may have changed since the last scan, takes `continuation`, runs it after
  // one, or when `patience` is over, and returns true. Otherwise false, and it is the caller's to
  // go on; a scan that is merely due is started then. `anyway`: whatever inotify says.
  bool AfterScan(uint64_t ticket, std::chrono::milliseconds patience,
                 const Continuation& continuation, bool anyway = false) EXCLUDES(mu_);
  // Runs `continuation` when a disk has appeared, or `patience` is over. False after Stop.
  bool AfterNewDisk(uint64_t ticket, std::chrono::milliseconds patience,
                    const Continuation& continuation) EXCLUDES(mu_);
  void DiskAppeared() EXCLUDES(mu_);
  // Its patience is over. Nothing happens when it does not wait.
  void Hurry(uint64_t ticket) EXCLUDES(mu_);

 private:
  static constexpr size_t kMaxWaiting = 1024;
  static constexpr uint64_t kNoScan = UINT64_MAX;  // no scan serves it
  struct Waiting {
    uint64_t ticket;
    uint64_t scan;  // the number of the first one that serves it
    std::chrono::steady_clock::time_point deadline;
    Continuation continuation;
  };

  void Loop();
  void EndWaits() EXCLUDES(mu_);
  // Takes out those that `over` holds for.
  std::vector<Waiting> TakeWaiting(const std::function<bool(const Waiting&)>& over) REQUIRES(mu_);
  // Waits for news; false when it is time to stop. True: scan now.
  bool WaitForNews() EXCLUDES(mu_);
  // Reads news away until it is quiet or somebody waits.
  void CollectNews() EXCLUDES(mu_);
  void ScanOnce() EXCLUDES(mu_);
  void AddWatches();
  bool NewsPending() const;
  bool ScanIsWaitedFor() const REQUIRES(mu_);
  // When a scan is due although there is no news; nothing: never.
  std::optional<std::chrono::steady_clock::time_point> NextScan() const EXCLUDES(mu_);
  void DrainNews() const;
  void Kick() const;

  Catalog& catalog_;
  const std::function<void()> after_scan_;
  UniqueFd inotify_;  // invalid when the host allows no more
  UniqueFd kick_;     // eventfd: somebody waits, or stop

  std::atomic<uint64_t> tickets_ = 0;

  mutable Mutex mu_;
  CondVar waiting_changed_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool scanning_ GUARDED_BY(mu_) = false;
  bool dirty_ GUARDED_BY(mu_) = false;   // news was read from inotify, and no scan has begun since
  bool wanted_ GUARDED_BY(mu_) = false;  // a scan is due although inotify is silent
  std::chrono::steady_clock::time_point last_scan_ GUARDED_BY(mu_);
  Backoff failed_ GUARDED_BY(mu_);      // scans
  uint64_t scans_ GUARDED_BY(mu_) = 0;  // begun
  std::vector<Waiting> waiting_ GUARDED_BY(mu_);

  std::thread thread_;
  std::thread impatient_;
};

}  // namespace chainfs::control
