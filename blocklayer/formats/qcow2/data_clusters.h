// SPDX-License-Identifier: Apache-2.0
//
// DataClusters: host clusters for guest data: fresh ones, and whether old ones may be written.
//
// Threads: all methods, any thread; they take TableState::mu, Check only where it must.
#pragma once

#include <cstdint>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class DataClusters {
 public:
  // `tables` must outlive this.
  explicit DataClusters(TableState& tables) : tables_(tables) {}

  // 1 to `want` consecutive free clusters, counted as in use from now on.
  Result<ClusterRun> Allocate(uint64_t want) EXCLUDES(tables_.mu);
  // Gives back clusters that were never linked.
  void ReleaseUnlinked(const ClusterRun& run) EXCLUDES(tables_.mu);
  // Whether guest data may be written to these clusters, which a mapping of `guest` names.
  // kCorrupt if one holds metadata, or lies past the end of the file and nothing counts it.
  Status Check(GuestOffset guest, uint64_t first_cluster, uint64_t count) EXCLUDES(tables_.mu);

 private:
  TableState& tables_;
};

}  // namespace chainfs::qcow2
