// SPDX-License-Identifier: Apache-2.0
//
// The header of a sparse VMDK file ("KDMV", 512 bytes, little-endian): a file of grains, found by
// way of a directory of tables. Field offsets: README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "blocklayer/io/file.h"

namespace chainfs::vmdk {

inline constexpr uint32_t kTableEntries = 512;  // per grain table

struct SparseHeader {
  uint64_t capacity = 0;        // bytes, whole sectors, > 0
  uint64_t grain_bytes = 0;     // a power of two of at least a sector
  HostOffset directory;         // an entry of four bytes per table; lies within the file
  bool zero_grains = false;     // table entries of 1 read as zeros
  bool compressed = false;      // grains are zlib streams
  bool markers = false;         // ... behind twelve bytes that say how long they are
  std::string descriptor = {};  // the text embedded; empty where there is none
};

bool IsSparseVmdk(std::span<const std::byte> begin);
// Reads and judges it, for a file of `file_size` bytes. kInvalidFormat, kUnsupported, kCorrupt,
// kIo.
Result<SparseHeader> ReadSparseHeader(File& file, uint64_t file_size);

}  // namespace chainfs::vmdk
