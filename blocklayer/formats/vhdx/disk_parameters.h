// SPDX-License-Identifier: Apache-2.0
//
// The metadata region of a VHDX file: what the disk is like. Items: README.md.
#pragma once

#include <cstdint>

#include "blocklayer/formats/vhdx/file_regions.h"

namespace chainfs::vhdx {

struct DiskParameters {
  uint64_t disk_size = 0;   // bytes, whole sectors of 512
  uint32_t block_size = 0;  // bytes, a power of two from 1 MiB to 256 MiB
};

// Reads and judges it. kUnsupported (a parent, sectors of 4096 bytes, an item that nobody knows),
// kCorrupt, kIo.
Result<DiskParameters> ReadDiskParameters(File& file, const Region& metadata);

}  // namespace chainfs::vhdx
