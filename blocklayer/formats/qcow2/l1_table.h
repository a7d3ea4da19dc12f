// SPDX-License-Identifier: Apache-2.0
//
// L1Table: the L1 table of one image: where it lies, and its entries, each of which names an L2
// table. Its slices live in the cache; the first ones, which map all of most disks, are held once
// used, and read without asking the cache.
//
// A table that has grown lies elsewhere. Readers may still hold the old place; it stays in memory.
//
// Threads: const methods, any thread, without a lock. The others: one at a time, under the lock of
// the image's tables; they know the newest place.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/table_slices.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class L1Table {
 public:
  // Both must outlive this. `entries` entries at `offset`.
  L1Table(File& file, TableSlices& slices, const Geometry& geometry, HostOffset offset,
          uint64_t entries);

  HostOffset offset() const { return current().offset; }
  uint64_t entries() const { return current().entries; }
  HostOffset end() const { return offset() + entries() * 8; }
  // In host byte order; 0 past the end of the table.
  Result<uint64_t> Entry(uint64_t index) const;
  // Guest bytes from `guest` on that no L2 table maps, where that of `guest` is missing: as many as
  // can be told without reading more of the table.
  Result<uint64_t> BytesWithoutL2(GuestOffset guest) const;

  // The slice that holds an entry, to be changed by Store; fetched before anything else is changed.
  Result<SlicePtr> SliceToChange(uint64_t index) { return SliceOf(current(), index); }
  // Where it belongs on disk.
  HostOffset SliceOffset(uint64_t index) const {
    return offset() + RoundDown(index * 8, geometry_.slice_bytes());
  }
  // Cannot fail. It is for the caller to write the slice.
  void Store(uint64_t index, uint64_t entry, const SlicePtr& slice) {
    slice->StoreWord(index % entries_per_slice(), entry);
  }
  // Writes the table as it is in memory to `to`, which reads as zeros and has room for `entries`.
  Status CopyTo(HostOffset to, uint64_t entries);
  // From now on the table is where it was copied to last. Cannot fail: the header says so already.
  void Move() { current_.store(places_.back().get(), std::memory_order_release); }

 private:
  struct Place {
    Place(HostOffset where, uint64_t count) : offset(where), entries(count) {}
    static constexpr size_t kHeld = 4;
    const HostOffset offset;
    const uint64_t entries;
    mutable std::array<std::atomic<MetadataSlice*>, kHeld> slices = {};
    mutable Mutex mu;  // a leaf
    mutable std::array<SlicePtr, kHeld> holders GUARDED_BY(mu);
  };
  const Place& current() const { return *current_.load(std::memory_order_acquire); }
  uint64_t entries_per_slice() const { return geometry_.slice_bytes() / 8; }
  Result<SlicePtr> SliceOf(const Place& place, uint64_t index) const;

  File& file_;
  TableSlices& slices_;
  const Geometry geometry_;
  std::vector<std::unique_ptr<Place>> places_;  // the last one is current, or will be
  std::atomic<const Place*> current_ = nullptr;
};

}  // namespace chainfs::qcow2
