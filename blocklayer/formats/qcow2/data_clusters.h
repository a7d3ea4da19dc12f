// SPDX-License-Identifier: Apache-2.0
//
// DataClusters: host clusters for guest data: fresh ones, and whether old ones may be written.
//
// Threads: all methods, any thread; they take TableState::mu, Check only where it must.
#pragma once

#include <cstdint>
#include <span>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class DataClusters {
 public:
  // `tables` must outlive this.
  explicit DataClusters(TableState& tables) : tables_(tables) {}

  // 1 to `want` consecutive clusters for those of the guest from `guest` on: free ones, counted as
  // in use from now on; in an external data file, their places there.
  Result<ClusterRun> Allocate(GuestOffset guest, uint64_t want) EXCLUDES(tables_.mu);
  // The same where the file was never written; there is no external data file.
  Result<ClusterRun> AllocateUnused(uint64_t want) EXCLUDES(tables_.mu);
  // Gives back clusters that were never linked; of those that others are linked to, one reference.
  void ReleaseUnlinked(const ClusterRun& run) EXCLUDES(tables_.mu);
  // The first clusters of the run, fresh from the allocator, are referred to so many times from now
  // on, at least once each; the others are given back. On failure, all are.
  Status SetUsers(const ClusterRun& run, std::span<const uint64_t> users) EXCLUDES(tables_.mu);
  // Whether guest data may be written to these clusters, which a mapping of `guest` names.
  // kCorrupt if one holds metadata, or lies past the end of the file and nothing counts it.
  Status Check(GuestOffset guest, uint64_t first_cluster, uint64_t count) EXCLUDES(tables_.mu);

  // The external data file: these come from CommitLedger::TakeVacated.
  void StopWaiting(std::span<const uint64_t> vacated) EXCLUDES(tables_.mu);
  // Whether a place was let go of once more, which is not durable yet, or may have been seen.
  bool Waits(uint64_t vacated) EXCLUDES(tables_.mu);

 private:
  TableState& tables_;
};

}  // namespace chainfs::qcow2
