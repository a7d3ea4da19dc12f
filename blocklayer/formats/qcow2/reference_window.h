// SPDX-License-Identifier: Apache-2.0
//
// ReferenceWindow: how often each of a run of host clusters is referred to, and as what: two bytes
// per cluster. A file with more clusters than a window may have is looked at window by window.
//
// Threads: Refer and NoteSingle, any, at once; the rest while nobody calls them.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "blocklayer/base/sync.h"

namespace chainfs::qcow2 {

// What a cluster is used as.
enum class ClusterUse : uint16_t {
  kData = 1 << 13,  // of guests, perhaps of several tables
  kL2Table = 1 << 14,
  kAlone = 1 << 15,  // what nothing else may refer to
};

class ReferenceWindow {
 public:
  // Of at most `bytes` of memory, beside what more than kMostInPlace references take.
  explicit ReferenceWindow(uint64_t bytes) : capacity_(bytes / sizeof(uint16_t)) {}

  // Clusters that one window may have.
  uint64_t capacity() const { return capacity_; }
  uint64_t first() const { return first_; }
  uint64_t end() const { return first_ + slots_.size(); }
  bool Has(uint64_t cluster) const { return cluster >= first_ && cluster < end(); }
  // Forgets everything, and counts for `clusters` clusters, at most capacity(), from `first` on.
  void Reset(uint64_t first, uint64_t clusters);

  // `cluster`: one of the window, also below.
  void Refer(uint64_t cluster, ClusterUse use) EXCLUDES(mu_);
  uint64_t References(uint64_t cluster) const EXCLUDES(mu_);
  // Whether uses that exclude each other meet in the cluster.
  bool Overlaps(uint64_t cluster) const;
  // Notes that the cluster's refcount on disk is one.
  void NoteSingle(uint64_t cluster);
  bool Single(uint64_t cluster) const { return (slots_[cluster - first_] & kSingle) != 0; }
  // Some references were not counted, because too many clusters are referred to too often.
  bool overflowed() const EXCLUDES(mu_);

 private:
  static constexpr uint16_t kSingle = 1 << 12;
  static constexpr uint16_t kMostInPlace = kSingle - 1;
  static constexpr size_t kMostBeyond = 1 << 18;

  const uint64_t capacity_;
  uint64_t first_ = 0;
  std::vector<uint16_t> slots_;
  mutable Mutex mu_;
  std::map<uint64_t, uint64_t> beyond_ GUARDED_BY(mu_);  // what did not fit in place
  bool overflowed_ GUARDED_BY(mu_) = false;
};

}  // namespace chainfs::qcow2
