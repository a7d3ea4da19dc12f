// SPDX-License-Identifier: Apache-2.0
//
// Counting what an image refers to, by walking all of its tables. The basis of the check and of the
// repair after a crash with lazy refcounts. Reads the file only; images that are in use elsewhere
// give meaningless answers.
//
// The image is not trusted: each L2 table is read once however often it is named (naming it again
// is a problem), memory follows the references and not the sizes that are claimed, and both this
// memory and what is read have limits (WalkLimits).
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
  bool first_problem_only = false;          // the walk ends at the first problem
  uint64_t max_table_bytes = UINT64_MAX;    // of L2 tables; more is a problem
  uint64_t max_counter_bytes = 512u << 20;  // kNoMemory when more would be needed
  const std::atomic<bool>* stop = nullptr;  // true: kCancelled, soon
  std::function<void(uint64_t l1_index)> progress = {};
};

class References {
 public:
  // Counts the header, the L1 table, L2 tables and data clusters. kUnsupported with internal
  // snapshots or bitmaps.
  static Result<References> Count(File& file, const Qcow2Header& header, const WalkLimits& limits);

  uint64_t clusters() const { return counts_.clusters(); }
  uint32_t count(uint64_t cluster) const { return counts_.Get(cluster); }
  const ReferenceCounts& counts() const { return counts_; }
  // Adds `clusters` references from `host` on; a reference past the file is a problem.
  void Add(std::string_view what, uint64_t host, uint64_t clusters);
  void Problem(std::string text);

  uint64_t problem_count() const { return problem_count_; }
  const std::vector<std::string>& problems() const { return problems_; }  // the first 100

 private:
  References(const Geometry& geometry, uint64_t clusters, const WalkLimits& limits)
      : geometry_(geometry), counts_(clusters, limits.max_counter_bytes) {}
  Status CountL1Entry(File& file, uint64_t index, uint64_t entry, const WalkLimits& limits);
  Status CountL2(File& file, uint64_t l1_index, HostOffset table, const WalkLimits& limits);
  void AddCompressed(const ClusterMapping& mapping);
  void CountOne(std::string_view what, uint64_t cluster);

  Geometry geometry_;
  ReferenceCounts counts_;
  bool out_of_memory_ = false;
  uint64_t table_bytes_ = 0;
  uint64_t problem_count_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace chainfs::qcow2
