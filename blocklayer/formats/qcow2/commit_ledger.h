// SPDX-License-Identifier: Apache-2.0
//
// CommitLedger: the one way by which changes of the tables in memory become durable. A commit takes
// all that is pending, writes it in the order of commit_batch.h, and puts what lost references into
// quarantine; what has been there long enough goes back to the host and to the allocator.
//
// Threads: all methods, any thread. Concurrent callers share commits.
// Locks: commit_mu_ (one commit at a time, held across its I/O), then TableState::mu.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/commit_batch.h"
#include "blocklayer/formats/qcow2/quarantine.h"
#include "blocklayer/formats/qcow2/table_state.h"
#include "blocklayer/image/io_epoch.h"

namespace chainfs::qcow2 {

class CommitLedger {
 public:
  // Both must outlive this. All I/O at mapped offsets of the image is under guards of `epoch`.
  CommitLedger(TableState& tables, IoEpoch& epoch) : tables_(tables), epoch_(epoch) {}

  // Makes everything changed so far durable, guest data included. Fails for good once the file is
  // poisoned or the header is uncertain (Q2-7).
  Status Commit() EXCLUDES(commit_mu_);
  // Commit, and `change` after it, before any other commit begins: what was pending is on disk
  // then, and nothing is on its way.
  Status CommitThen(const std::function<Status()>& change) EXCLUDES(commit_mu_);
  // Before a clean end: like Commit, and gives back what is in quarantine. No I/O may be under way.
  Status CommitAndRelease() EXCLUDES(commit_mu_);

  // Of the external data file: places that nothing is mapped to any more, durably so, and that no
  // I/O can have seen mapped; sorted. They are not held here any longer, and may be mapped again.
  std::vector<uint64_t> TakeVacated() EXCLUDES(commit_mu_);

  // Whether a commit would do more than sync the file: something is pending, or in quarantine.
  bool HasPending() EXCLUDES(commit_mu_);
  // Commits if so much is pending that the writer should not go on before.
  Status CommitIfMuchIsPending() EXCLUDES(commit_mu_) {
    const size_t slices = tables_.pending_weight.load(std::memory_order_relaxed);
    return slices > kMaxPending ? Commit() : Status();
  }

 private:
  static constexpr size_t kMaxPending = 1024;  // slices: 4 MiB at most

  Status CommitNow() REQUIRES(commit_mu_);
  // Frees what has been in quarantine long enough.
  void ReleaseQuarantine() REQUIRES(commit_mu_);

  TableState& tables_;
  IoEpoch& epoch_;
  std::atomic<uint64_t> requests_ = 0;
  Mutex commit_mu_ ACQUIRED_BEFORE(tables_.mu);
  uint64_t covered_ GUARDED_BY(commit_mu_) = 0;  // requests that the last commit served
  Quarantine quarantine_ GUARDED_BY(commit_mu_);
  Quarantine vacated_ GUARDED_BY(commit_mu_);
};

}  // namespace chainfs::qcow2
