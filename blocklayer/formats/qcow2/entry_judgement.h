// SPDX-License-Identifier: Apache-2.0
//
// JudgeEntry: what is wrong with an L2 entry, and what it refers to all the same. Readers refuse a
// bad entry as a whole (L2Codec::Decode); a check must say what is bad, and count as qemu-img check
// does. Format facts: the qcow2 specification, "L2 table entry"; what QEMU 7.2 finds was measured.
//
// Threads: plain functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "blocklayer/formats/qcow2/geometry.h"

namespace chainfs::qcow2 {

struct EntryJudgement {
  // What is wrong, as a set.
  enum Problem : uint32_t {
    kReservedBits = 1 << 0,
    kCopiedCompressed = 1 << 1,
    kCompressedSubclusters = 1 << 2,
    kContradictorySubclusters = 1 << 3,  // data and zeros in one
    kUnalignedCluster = 1 << 4,
    kSubclustersWithoutCluster = 1 << 5,
    kCompressedElsewhere = 1 << 6,  // with an external data file
    // What qemu-img 7.2 overlooks.
    kZeroFlag = 1 << 7,  // where the format has none
    kCopiedNothing = 1 << 8,
  };
  static constexpr uint32_t kUnseenByQemu = kZeroFlag | kCopiedNothing;
  static std::string_view TextOf(Problem problem);

  uint32_t problems = 0;
  bool allocated = false;
  // What it refers to in the image's own file; 0 bytes: nothing.
  HostOffset host;
  uint64_t bytes = 0;
  bool compressed = false;
  bool has_flag = false;  // COPIED must agree with the refcount of the cluster at `host`
  bool copied = false;
};

// `external`: of an image whose data lies in another file, where refcounts do not reach: every
// cluster counts as used once, and 0 is a place like any other.
EntryJudgement JudgeEntry(const Geometry& geometry, L2Entry entry, bool external = false);

}  // namespace chainfs::qcow2
