// SPDX-License-Identifier: Apache-2.0
//
// SourceWatcher: notices new, changed and vanished images, and has the catalog look. inotify tells;
// a short pause collects what belongs together. inotify knows nothing of changes that another host
// makes on a network file system, so openers who ask for something unknown can also ask for a look.
//
// A look-up that arrives while news is pending waits for the scan without holding a thread: the
// request is parked as a continuation (AfterScan). The wait is bounded by the scan itself.
//
// Threads: all methods, any thread. One thread of its own scans, with no lock held; mu_ is held for
// list operations only.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog.h"
#include "blocklayer/io/unique_fd.h"

namespace chainfs {

class SourceWatcher {
 public:
  using Continuation = std::function<void()>;

  // `after_scan` runs on the watcher's thread after every scan, before the continuations.
  SourceWatcher(Catalog& catalog, std::function<void()> after_scan);
  ~SourceWatcher();

  void Start();
  // Runs what waits, without a scan. Nothing may be queued afterwards.
  void Stop() EXCLUDES(mu_);

  // When the sources may have changed since the last scan, takes `continuation`, runs it after
  // one, and returns true. Otherwise false, and it is the caller's to go on; a scan that is merely
  // due is started then.
  bool AfterScan(const Continuation& continuation) EXCLUDES(mu_);

 private:
  static constexpr size_t kMaxWaiting = 1024;

  void Loop();
  // Waits for news; false when it is time to stop. True: scan now.
  bool WaitForNews() EXCLUDES(mu_);
  // Reads news away until it is quiet or somebody waits.
  void CollectNews() EXCLUDES(mu_);
  void ScanOnce() EXCLUDES(mu_);
  void AddWatches();
  bool NewsPending() const;
  void DrainNews() const;
  void Kick() const;

  Catalog& catalog_;
  const std::function<void()> after_scan_;
  UniqueFd inotify_;  // invalid when the host allows no more
  UniqueFd kick_;     // eventfd: somebody waits, or stop

  Mutex mu_;
  bool stop_ GUARDED_BY(mu_) = false;
  bool scanning_ GUARDED_BY(mu_) = false;
  bool dirty_ GUARDED_BY(mu_) = false;   // news was read from inotify, and no scan has begun since
  bool wanted_ GUARDED_BY(mu_) = false;  // a scan is due although inotify is silent
  std::chrono::steady_clock::time_point last_scan_ GUARDED_BY(mu_);
  std::vector<Continuation> waiting_ GUARDED_BY(mu_);

  std::thread thread_;
};

}  // namespace chainfs
