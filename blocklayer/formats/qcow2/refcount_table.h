// SPDX-License-Identifier: Apache-2.0
//
// RefcountTable: where the refcount blocks lie, in memory. What follows the last entry in use is
// not held: with clusters of 2 MiB even the smallest image's table has 262144 entries, one of them
// in use.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class RefcountTable {
 public:
  RefcountTable() = default;
  // The `entries` entries at `offset` of `file`; what lies past its end counts as zeros. Errors are
  // those of reading.
  static Result<RefcountTable> Load(File& file, HostOffset offset, uint64_t entries);

  // Entries that the table has on disk.
  uint64_t size() const { return size_; }
  // In host byte order; 0 past the end.
  uint64_t operator[](uint64_t index) const { return index < used_.size() ? used_[index] : 0; }
  // All others are 0.
  std::span<const uint64_t> used() const { return used_; }

  // `index` < size().
  void Set(uint64_t index, uint64_t entry);
  // More entries, empty ones; `entries` >= size().
  void Grow(uint64_t entries) { size_ = entries; }
  // The whole table as it is on disk: size() * 8 bytes.
  std::vector<std::byte> Encode() const;

 private:
  uint64_t size_ = 0;
  std::vector<uint64_t> used_;
};

}  // namespace chainfs::qcow2
