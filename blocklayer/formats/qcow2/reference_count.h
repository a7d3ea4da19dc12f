// SPDX-License-Identifier: Apache-2.0
//
// CountReferences: how often everything in an image is referred to, in windows of host clusters, so
// that memory has a bound and does not follow the size of the file: two bytes per cluster of a
// window, the refcount table (at most 8 MiB), and two clusters per thread. The tables of an image
// with more clusters than a window are walked once per window that anything lies in.
//
// Threads: plain function; `problem` and `flagged` of the hooks are called from the threads of the
// runner, at once; `window` is not.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "blocklayer/formats/qcow2/refcounts_on_disk.h"
#include "blocklayer/formats/qcow2/reference_walk.h"
#include "blocklayer/formats/qcow2/reference_window.h"

namespace chainfs::qcow2 {

// Something that cannot be counted, or should not be there. Each is told once.
struct ReferenceProblem {
  enum class Kind : uint8_t {
    kBadEntry,  // what it names may not be what it should name
    kPastEnd,   // names clusters past the end of the file
    kBadBlock,  // the refcount structure itself is broken: counts must be made anew
  };
  Kind kind = Kind::kBadEntry;
  std::string text;
  bool unseen_by_qemu = false;
};

struct CountHooks {
  // The refcount table and its blocks count, too.
  bool with_refcounts = true;
  std::function<void(ReferenceProblem)> problem = {};
  // `single`: the refcount on disk is one. Once per entry.
  std::function<Status(const FlaggedEntry& entry, bool single)> flagged = {};
  // All references to the clusters of the window are counted.
  std::function<Status(const ReferenceWindow& window)> window = {};
};

// The clusters of the file, and one more: what a last, incomplete cluster belongs to may end there.
Result<uint64_t> CountedClusters(File& file, const Geometry& geometry);

// kNoMemory: not within the memory of `window`, or too many windows.
Result<WalkTotals> CountReferences(File& file, const Qcow2Header& header,
                                   const RefcountsOnDisk& refcounts, ReferenceWindow& window,
                                   const WalkControl& control, const CountHooks& hooks);

}  // namespace chainfs::qcow2
