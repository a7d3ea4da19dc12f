// SPDX-License-Identifier: Apache-2.0
//
// The header of a VDI image: its first 512 bytes, little-endian. Field offsets: README.md.
#pragma once

#include <cstdint>

#include "blocklayer/io/file.h"

namespace chainfs::vdi {

inline constexpr uint32_t kBlockBytes = 1 << 20;

struct VdiHeader {
  HostOffset map;          // of the block map: `blocks` entries of four bytes
  HostOffset data;         // of block 0
  uint64_t disk_size = 0;  // bytes, whole sectors
  uint32_t blocks = 0;     // cover disk_size
};

// Reads and judges it; the map lies within the file's `file_size` bytes. kInvalidFormat,
// kUnsupported (a differencing image, an unknown version or kind), kCorrupt, kIo.
Result<VdiHeader> ReadVdiHeader(File& file, uint64_t file_size);
// For a hint to people.
bool BeginsLikeVdi(File& file);

}  // namespace chainfs::vdi
