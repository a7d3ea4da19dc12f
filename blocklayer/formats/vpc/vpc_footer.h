// SPDX-License-Identifier: Apache-2.0
//
// The footer of a VHD image (512 bytes, big-endian; a dynamic one begins with a copy of it) and the
// header of the dynamic kind. Field offsets: README.md.
#pragma once

#include <cstdint>

#include "blocklayer/io/file.h"

namespace chainfs::vpc {

inline constexpr uint32_t kSectorBytes = 512;

struct VpcLayout {
  uint64_t disk_size = 0;  // bytes, whole sectors
  // Of the dynamic kind; a fixed one has no blocks, and holds the disk from its first byte on.
  uint32_t block_size = 0;  // bytes, a power of two of at least a sector; 0: fixed
  uint32_t blocks = 0;      // cover disk_size
  HostOffset table;         // `blocks` entries of four bytes
};

// Reads and judges both, for a file of `file_size` bytes, which hold the table or the disk.
// kInvalidFormat, kUnsupported (a differencing image), kCorrupt, kIo.
Result<VpcLayout> ReadVpcLayout(File& file, uint64_t file_size);
// For a hint to people: only the dynamic kind begins like anything.
bool BeginsLikeVpc(File& file);

}  // namespace chainfs::vpc
