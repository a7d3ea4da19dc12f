// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_window.h"

#include <atomic>
#include <utility>

namespace chainfs::qcow2 {

void ReferenceWindow::Reset(uint64_t first, uint64_t clusters) {
  first_ = first;
  slots_.assign(clusters, 0);
  MutexLock lock(mu_);
  beyond_.clear();
  overflowed_ = false;
}

void ReferenceWindow::Refer(uint64_t cluster, ClusterUse use) {
  const std::atomic_ref<uint16_t> slot(slots_[cluster - first_]);
  uint16_t before = slot.load(std::memory_order_relaxed);
  for (;;) {
    const bool full = (before & kMostInPlace) == kMostInPlace;
    const auto after =
        static_cast<uint16_t>((full ? before : before + 1) | std::to_underlying(use));
    if (!slot.compare_exchange_weak(before, after, std::memory_order_relaxed)) continue;
    if (!full) return;
    break;
  }
  MutexLock lock(mu_);
  if (beyond_.size() >= kMostBeyond && !beyond_.contains(cluster)) {
    overflowed_ = true;
  } else {
    ++beyond_[cluster];
  }
}

uint64_t ReferenceWindow::References(uint64_t cluster) const {
  const uint64_t in_place = slots_[cluster - first_] & kMostInPlace;
  if (in_place < kMostInPlace) return in_place;
  MutexLock lock(mu_);
  const auto beyond = beyond_.find(cluster);
  return in_place + (beyond == beyond_.end() ? 0 : beyond->second);
}

bool ReferenceWindow::Overlaps(uint64_t cluster) const {
  const uint16_t slot = slots_[cluster - first_];
  const auto is = [slot](ClusterUse use) { return (slot & std::to_underlying(use)) != 0; };
  if (is(ClusterUse::kAlone)) return (slot & kMostInPlace) > 1;
  return is(ClusterUse::kL2Table) && is(ClusterUse::kData);
}

void ReferenceWindow::NoteSingle(uint64_t cluster) {
  const std::atomic_ref<uint16_t> slot(slots_[cluster - first_]);
  slot.fetch_or(kSingle, std::memory_order_relaxed);
}

bool ReferenceWindow::overflowed() const {
  MutexLock lock(mu_);
  return overflowed_;
}

}  // namespace chainfs::qcow2
