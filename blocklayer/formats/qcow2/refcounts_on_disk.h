// SPDX-License-Identifier: Apache-2.0
//
// RefcountsOnDisk: an image's refcount table and what its blocks say, read from the file past any
// cache. The bytes are not trusted: of the table at most 8 MiB are kept, of the blocks nothing.
//
// Threads: immutable once loaded.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class RefcountsOnDisk {
 public:
  enum class BlockState : uint8_t {
    kMissing,  // no cluster of it is counted
    kSound,
    kReservedBits,  // its counts can be read all the same
    kOutside,       // reads as zeros
    kUnaligned,
  };

  static Result<RefcountsOnDisk> Load(File& file, const Qcow2Header& header);

  uint64_t blocks() const { return table_.size(); }
  BlockState StateOf(uint64_t block) const;
  // Whether it is named, but where no counts can lie.
  bool Unreadable(uint64_t block) const;
  HostOffset PlaceOf(uint64_t block) const { return HostOffset(table_[block] & kPlaceMask); }
  // The first block from `block` on that is not missing; blocks() if there is none.
  uint64_t NextBlock(uint64_t block) const;

  // Calls `visit` with the refcounts of the clusters `first` to `end` - 1, block by block: with the
  // bytes of a block, or null when it has no counts (all are 0). Clusters past the table are in
  // blocks that are missing.
  Status ForEachBlock(uint64_t first, uint64_t end,
                      const std::function<Status(uint64_t first, uint64_t end,
                                                 const std::byte* block)>& visit) const;
  // Of one cluster; 0 where there is none.
  Result<uint64_t> CountOf(uint64_t cluster) const;

 private:
  // Whether there is a block of counts to read.
  bool HasCounts(uint64_t block) const;

  static constexpr uint64_t kReservedMask = 0x1ff;
  static constexpr uint64_t kPlaceMask = ~kReservedMask;  // QEMU 7.2 takes the top bits for it, too

  RefcountsOnDisk(File& file, const Geometry& geometry, uint64_t file_size)
      : file_(&file), geometry_(geometry), file_size_(file_size) {}

  File* file_;
  Geometry geometry_;
  uint64_t file_size_;
  std::vector<uint64_t> table_;
};

}  // namespace chainfs::qcow2
