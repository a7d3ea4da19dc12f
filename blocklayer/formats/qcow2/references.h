// SPDX-License-Identifier: Apache-2.0
//
// Counting what an image refers to, by walking all of its tables. The basis of the check and of the
// repair after a crash with lazy refcounts. Reads the file only; images that are in use elsewhere
// give meaningless answers.
//
// The image is not trusted: each L2 table is read once however often it is named. Without internal
// snapshots, naming it again is a problem; with them, L1 tables share tables, and what such a table
// names counts once for each of them. Memory follows the references and not the sizes that are
// claimed, and both this memory and what is read have limits (WalkLimits).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/reference_counts.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// What bounds a walk over an image, and who hears of it.
struct WalkLimits {
  bool first_problem_only = false;                     // the walk ends at the first problem
  uint64_t max_table_bytes = UINT64_MAX;               // of L2 tables; more is a problem
  uint64_t max_counter_bytes = 512u << 20;             // kNoMemory when more would be needed
  const std::atomic<bool>* stop = nullptr;             // true: kCancelled, soon
  std::function<void(uint32_t percent)> percent = {};  // called often
};

class References {
 public:
  // Counts the header, the L1 tables of the disk and of its internal snapshots, L2 tables, data
  // clusters and ForEachMetadataExtent.
  static Result<References> Count(File& file, const Qcow2Header& header, const WalkLimits& limits);

  uint64_t clusters() const { return counts_.clusters(); }
  uint32_t count(uint64_t cluster) const { return counts_.Get(cluster); }
  const ReferenceCounts& counts() const { return counts_; }
  // Adds `times` references to each of `clusters` clusters from `host` on; a reference past the
  // file is a problem.
  void Add(std::string_view what, uint64_t host, uint64_t clusters, uint32_t times = 1);
  void Problem(std::string text);

  uint64_t problem_count() const { return problem_count_; }
  const std::vector<std::string>& problems() const { return problems_; }  // the first 100

 private:
  References(const Geometry& geometry, uint64_t clusters, bool has_snapshots,
             const WalkLimits& limits)
      : geometry_(geometry),
        counts_(clusters, limits.max_counter_bytes),
        has_snapshots_(has_snapshots),
        table_counts_(clusters, limits.max_counter_bytes) {}
  struct L1Place {
    std::string_view what;  // what people call one of its entries
    HostOffset offset;
    uint64_t entries;
  };
  // The clusters of an L1 table, and the L2 tables that it names.
  Status CountL1(File& file, const L1Place& l1, const WalkLimits& limits);
  Status CountL1Entry(File& file, const L1Place& l1, uint64_t index, uint64_t entry,
                      const WalkLimits& limits);
  // The L2 tables of internal snapshots, and what all L2 tables name.
  Status CountSharedTables(File& file, const Qcow2Header& header, const WalkLimits& limits);
  Status CountAll(File& file, const Qcow2Header& header, const WalkLimits& limits);
  // What an L2 table names, `times` times.
  // `guest`: what the table begins to map; matters with an external data file only, where no table
  // is shared.
  Status CountL2(File& file, uint64_t cluster, GuestOffset guest, uint32_t times,
                 const WalkLimits& limits);
  void AddCompressed(const ClusterMapping& mapping, uint32_t times);
  void CountOne(std::string_view what, uint64_t cluster, uint32_t times);
  // Whether the walk is to end here.
  Status CheckLimits(const File& file, const WalkLimits& limits) const;

  Geometry geometry_;
  ReferenceCounts counts_;
  // With internal snapshots: how many L1 tables name an L2 table, and all of these, in the order in
  // which they were found. Each is read when all L1 tables are.
  const bool has_snapshots_;
  ReferenceCounts table_counts_;
  std::vector<uint64_t> tables_;  // clusters
  uint64_t table_bytes_ = 0;
  bool out_of_memory_ = false;
  uint64_t problem_count_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace chainfs::qcow2
