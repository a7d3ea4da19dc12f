// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/first_reads.h"

namespace chainfs {
namespace {

// The table is never more than a quarter full.
constexpr uint64_t kSlotsPerGranule = 4;
// Slots that are looked at for one granule. With as few taken as there are, more than that in a row
// are next to impossible; the granule is passed over then.
constexpr uint64_t kProbes = 32;

uint64_t Scatter(uint64_t number) {
  number *= 0x9E3779B97F4A7C15;  // 2^64 by the golden ratio
  return number ^ (number >> 32);
}

}  // namespace

FirstReads::FirstReads(uint32_t capacity)
    : capacity_(capacity), order_(capacity), known_(capacity * kSlotsPerGranule) {}

bool FirstReads::IsNew(uint64_t entry) noexcept {
  const uint64_t mask = known_.size() - 1;
  const uint64_t start = Scatter(entry);
  for (uint64_t i = 0; i < kProbes; ++i) {
    Slot& slot = known_[(start + i) & mask];
    uint64_t there = slot.load(std::memory_order_relaxed);
    if (there == 0 && slot.compare_exchange_strong(there, entry, std::memory_order_relaxed)) {
      return true;
    }
    if (there == entry) return false;
  }
  return false;
}

void FirstReads::AfterRead(GuestOffset offset, uint64_t length) noexcept {
  const uint64_t last = (offset.value + length - 1) / kGranule;
  for (uint64_t granule = offset.value / kGranule; granule <= last; ++granule) {
    if (count_.load(std::memory_order_relaxed) >= capacity_) return;
    const uint64_t entry = granule + 1;
    if (!IsNew(entry)) continue;
    const uint64_t place = count_.fetch_add(1, std::memory_order_relaxed);
    if (place < capacity_) order_[place].store(entry, std::memory_order_release);
  }
}

std::optional<GuestOffset> FirstReads::Next() {
  if (next_ == capacity_) BeginAnew();
  // Its place may have been given away before it is there.
  const uint64_t entry = order_[next_].load(std::memory_order_acquire);
  if (entry == 0) return std::nullopt;
  ++next_;
  return GuestOffset((entry - 1) * kGranule);
}

void FirstReads::BeginAnew() {
  for (Slot& slot : known_) slot.store(0, std::memory_order_relaxed);
  for (Slot& slot : order_) slot.store(0, std::memory_order_relaxed);
  next_ = 0;
  count_.store(0, std::memory_order_release);
}

}  // namespace chainfs
