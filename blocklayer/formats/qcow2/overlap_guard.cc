// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/overlap_guard.h"

#include <utility>

namespace chainfs::qcow2 {

bool OverlapGuard::Holds(uint64_t first_cluster, uint64_t count) const {
  ReaderLock lock(mu_);
  return clusters_.Contains(first_cluster, count);
}

void OverlapGuard::Add(uint64_t first_cluster, uint64_t count) {
  WriterLock lock(mu_);
  clusters_.Add(first_cluster, count);
}

void OverlapGuard::Remove(uint64_t first_cluster, uint64_t count) {
  WriterLock lock(mu_);
  clusters_.Remove(first_cluster, count);
}

void OverlapGuard::Reset(ClusterSet clusters) {
  WriterLock lock(mu_);
  clusters_ = std::move(clusters);
}

}  // namespace chainfs::qcow2
