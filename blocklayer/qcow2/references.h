// SPDX-License-Identifier: Apache-2.0
//
// Counting what an image refers to, by walking all of its tables. The basis of the check and of the
// repair after a crash with lazy refcounts. Reads the file only; images that are in use elsewhere
// give meaningless answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blocklayer/io/file.h"
#include "blocklayer/qcow2/geometry.h"
#include "blocklayer/qcow2/header.h"

namespace chainfs::qcow2 {

class References {
 public:
  // Counts the header, the L1 table, L2 tables and data clusters. kNoMemory for a file that would
  // need more than 512 MiB of counters; kUnsupported with internal snapshots or bitmaps.
  static Result<References> Count(File& file, const Qcow2Header& header);

  uint64_t clusters() const { return counts_.size(); }
  uint32_t count(uint64_t cluster) const { return counts_[cluster]; }
  // Adds `clusters` references from `host` on; a reference past the file is a problem.
  void Add(std::string_view what, uint64_t host, uint64_t clusters);
  void Problem(std::string text);

  uint64_t problem_count() const { return problem_count_; }
  const std::vector<std::string>& problems() const { return problems_; }  // the first 100

  // The tables as read, in host byte order; empty L2 tables where the L1 entry is empty or bad.
  const std::vector<uint64_t>& l1() const { return l1_; }

  // Reads the L2 table at `host` in host byte order.
  static Result<std::vector<uint64_t>> ReadTable(File& file, HostOffset host, uint64_t entries);

 private:
  explicit References(const Geometry& geometry) : geometry_(geometry) {}
  Status CountL2(File& file, uint64_t l1_index, HostOffset table);

  Geometry geometry_;
  std::vector<uint32_t> counts_;
  std::vector<uint64_t> l1_;
  uint64_t problem_count_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace chainfs::qcow2
