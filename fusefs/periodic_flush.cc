// SPDX-License-Identifier: Apache-2.0
#include "fusefs/periodic_flush.h"

#include <utility>

namespace chainfs::fusefs {

PeriodicFlush::~PeriodicFlush() { Stop(); }

void PeriodicFlush::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void PeriodicFlush::Stop() {
  {
    const MutexLock lock(mu_);
    stop_ = true;
  }
  stopped_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void PeriodicFlush::Loop() {
  while (Pause()) FlushChanged();
}

bool PeriodicFlush::Pause() {
  const auto deadline = std::chrono::steady_clock::now() + intervals_.flush;
  const MutexLock lock(mu_);
  while (!stop_) {
    if (!stopped_.WaitUntil(mu_, deadline)) break;
  }
  return !stop_;
}

void PeriodicFlush::FlushChanged() {
  const Time now = std::chrono::steady_clock::now();
  decltype(failed_) failed;
  for (const control::ServedDiskPtr& served : disks_.List()) {
    const auto before = failed_.find(served);
    if (before != failed_.end() && now - before->second < intervals_.retry) {
      failed.insert(*before);
      continue;
    }
    if (!served->disk->NeedsFlush()) continue;
    // A failure has reached the log and the events by the disk's observer.
    if (!served->disk->Settle()) failed[served] = now;
  }
  failed_ = std::move(failed);
}

}  // namespace chainfs::fusefs
