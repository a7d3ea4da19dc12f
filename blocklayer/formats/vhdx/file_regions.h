// SPDX-License-Identifier: Apache-2.0
//
// What lies where in a VHDX file: the current one of its two headers, and its region table. Field
// offsets: README.md.
#pragma once

#include <cstdint>
#include <vector>

#include "blocklayer/io/file.h"

namespace chainfs::vhdx {

inline constexpr uint64_t kMiB = 1 << 20;  // all regions and blocks are multiples of it

struct Region {
  uint64_t begin = 0;
  uint64_t length = 0;  // bytes
};

struct FileRegions {
  Region table;  // of blocks
  Region metadata;
  // All places that cannot be blocks, headers and log among them, by where they begin; none
  // overlap.
  std::vector<Region> taken;
};

// Reads and judges both, for a file of `file_size` bytes, which hold the two regions.
// kInvalidFormat, kUnsupported (a log that is not empty, a region that nobody knows), kCorrupt,
// kIo.
Result<FileRegions> ReadFileRegions(File& file, uint64_t file_size);
// For a hint to people.
bool BeginsLikeVhdx(File& file);

}  // namespace chainfs::vhdx
