// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l1_table.h"

#include <algorithm>

namespace chainfs::qcow2 {

L1Table::L1Table(File& file, TableSlices& slices, const Geometry& geometry, HostOffset offset,
                 uint64_t entries)
    : file_(file), slices_(slices), geometry_(geometry) {
  places_.push_back(std::make_unique<Place>(offset, entries));
  Move();
}

Result<SlicePtr> L1Table::SliceOf(const Place& place, uint64_t index) const {
  const uint64_t number = index / entries_per_slice();
  CHAINFS_ASSIGN(SlicePtr slice, slices_.Load(place.offset + number * geometry_.slice_bytes()));
  if (number < Place::kHeld) {
    MutexLock lock(place.mu);
    if (place.holders[number] == nullptr) {
      place.holders[number] = slice;
      place.slices[number].store(slice.get(), std::memory_order_release);
    }
    return place.holders[number];
  }
  return slice;
}

Result<uint64_t> L1Table::Entry(uint64_t index) const {
  const Place& place = current();
  if (index >= place.entries) return uint64_t{0};
  const uint64_t per_slice = entries_per_slice();
  if (index < Place::kHeld * per_slice) {
    const MetadataSlice* held = place.slices[index / per_slice].load(std::memory_order_acquire);
    if (held != nullptr) return held->LoadWord(index % per_slice);
  }
  CHAINFS_ASSIGN(const SlicePtr slice, SliceOf(place, index));
  return slice->LoadWord(index % per_slice);
}

Result<uint64_t> L1Table::BytesWithoutL2(GuestOffset guest) const {
  const uint64_t per_slice = entries_per_slice();
  const uint64_t first = geometry_.L1Index(guest);
  const uint64_t to_next = geometry_.l2_span() - guest.Within(geometry_.l2_span());
  const Place& place = current();
  if (first >= place.entries) return to_next;
  CHAINFS_ASSIGN(const SlicePtr slice, SliceOf(place, first));
  const uint64_t end = std::min(place.entries, RoundDown(first, per_slice) + per_slice);
  uint64_t index = first + 1;
  while (index < end && slice->LoadWord(index % per_slice) == 0) ++index;
  return to_next + (index - first - 1) * geometry_.l2_span();
}

Status L1Table::CopyTo(HostOffset to, uint64_t entries) {
  const Place& from = current();
  const uint64_t per_slice = entries_per_slice();
  for (uint64_t index = 0; index < from.entries; index += per_slice) {
    CHAINFS_ASSIGN(const SlicePtr slice, SliceOf(from, index));
    const uint64_t count = std::min(per_slice, from.entries - index);
    if (std::ranges::all_of(slice->words().first(count), [](uint64_t w) { return w == 0; })) {
      continue;
    }
    CHAINFS_TRY(file_.WriteAt(to + index * 8, slice->bytes().first(count * 8)));
  }
  places_.push_back(std::make_unique<Place>(to, entries));
  return {};
}

}  // namespace chainfs::qcow2
