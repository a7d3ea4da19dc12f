// SPDX-License-Identifier: Apache-2.0
//
// OverlapGuard: which clusters of one image hold metadata, so that none of them is handed out,
// given up, punched or written by a guest, whatever an entry says (Q2-6).
//
// Threads: all methods, any thread; the mutex is a leaf.
#pragma once

#include <cstdint>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/cluster_set.h"

namespace chainfs::qcow2 {

class OverlapGuard {
 public:
  // Whether any of these clusters holds metadata.
  bool Holds(uint64_t first_cluster, uint64_t count) const EXCLUDES(mu_);
  void Add(uint64_t first_cluster, uint64_t count) EXCLUDES(mu_);
  void Remove(uint64_t first_cluster, uint64_t count) EXCLUDES(mu_);
  // What was learnt of the whole image takes the place of all else.
  void Reset(ClusterSet clusters) EXCLUDES(mu_);

 private:
  mutable SharedMutex mu_;
  ClusterSet clusters_ GUARDED_BY(mu_);
};

}  // namespace chainfs::qcow2
