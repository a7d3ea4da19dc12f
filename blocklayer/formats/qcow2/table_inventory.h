// SPDX-License-Identifier: Apache-2.0
//
// TableInventory: learning where the tables of an image lie, before its first change.
//
// An image that is only read, or not used at all, holds nothing but the slices of its L1 table that
// were used, in the cache. Before the first change its refcount table and the places of all tables
// are learnt and charged to the cache. What a header claims costs nothing by itself.
//
// Threads: all methods, any thread; they take TableState::mu.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/qcow2/cluster_set.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class TableInventory {
 public:
  // Both must outlive this.
  TableInventory(TableState& tables, MetadataCache& cache) : tables_(tables), cache_(cache) {}
  ~TableInventory();
  TableInventory(const TableInventory&) = delete;
  TableInventory& operator=(const TableInventory&) = delete;

  // Of an image that may be written: learns from small ones at once, so that it is known early if
  // tables lie on one another; then changes are refused. Keeps next to nothing in memory.
  Status LearnEarly() EXCLUDES(tables_.mu);
  // Before the first change. kCorrupt: tables lie on one another, changes are refused. kNoMemory:
  // the tables of all images together are more than the cache may hold.
  Status PrepareForWriting() EXCLUDES(tables_.mu);
  // Whether that was ever done, so that there may be something to commit.
  bool prepared() const { return prepared_.load(std::memory_order_acquire); }

 private:
  Status Learn() REQUIRES(tables_.mu);
  Status FindMetadata() REQUIRES(tables_.mu);
  Result<std::vector<ClusterSet::Run>> ListTables() REQUIRES(tables_.mu);
  // Calls `visit` with every L1 entry that names an L2 table.
  Status ForEachL2Table(const std::function<Status(uint64_t entry)>& visit) REQUIRES(tables_.mu);
  Status Charge(uint64_t bytes) REQUIRES(tables_.mu);
  void Forget() REQUIRES(tables_.mu);

  TableState& tables_;
  MetadataCache& cache_;
  std::atomic<bool> prepared_ = false;
  bool known_ GUARDED_BY(tables_.mu) = false;
  uint64_t charged_ GUARDED_BY(tables_.mu) = 0;  // bytes
};

}  // namespace chainfs::qcow2
