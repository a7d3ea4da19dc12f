// SPDX-License-Identifier: Apache-2.0
//
// The tables of persistent bitmaps: where their bits lie, clusters of them, and what clusters that
// have no place hold. Bit n of a bitmap is bit n % 8 of byte n / 8 and stands for the granule n of
// the disk.
//
// The bytes are not trusted. Bounds: tables are read in pieces of at most 64 KiB, bits a cluster at
// a time.
//
// Threads: plain functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/bitmap_directory.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/metadata_extents.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Of a table entry without a place: all bits of its cluster are ones, else they are zeros.
inline constexpr uint64_t kBitmapAllOnes = 1;
inline constexpr uint64_t kBitmapPlaceMask = 0x00ff'ffff'ffff'fe00;

// Calls `visit(index, entry)` for each entry of the bitmap's table that is not 0. kCorrupt for one
// that sets reserved bits, or names no cluster.
Status ForEachBitmapTableEntry(File& file, const Geometry& geometry, const StoredBitmap& bitmap,
                               const std::function<Status(uint64_t index, uint64_t entry)>& visit);

// Calls `visit(first_bit, bytes)` for each cluster of bits that holds ones, in order; bytes beyond
// the end of the disk are left out, bits beyond it are zeros. The bitmap is usable. At most
// `max_bytes` are read, else kNoMemory.
Status ForEachDirtyCluster(
    File& file, const Geometry& geometry, const StoredBitmap& bitmap, uint64_t size,
    uint64_t max_bytes,
    const std::function<Status(uint64_t first_bit, std::span<const std::byte> bytes)>& visit);

// Calls `visit` for all that the bitmaps occupy: their directory, tables and bits. kCorrupt as
// above, or by ReadBitmapDirectory.
Status ForEachBitmapExtent(File& file, const Qcow2Header& header,
                           const std::function<Status(const MetadataExtent&)>& visit);

}  // namespace chainfs::qcow2
