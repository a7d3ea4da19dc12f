// SPDX-License-Identifier: Apache-2.0
//
// The directory of the persistent bitmaps of an image: reading and writing its entries. FORMAT.md
// tells what they hold; what the bits of a bitmap are is for bitmap_table.h.
//
// The bytes are not trusted. An entry that cannot be told from the next, or that puts its table
// where none can lie, makes the whole directory broken. One that is well-formed, but says what
// nobody knows or what contradicts the disk, makes its bitmap alone unusable (WhyUnusable).
//
// Bounds: at most 65,535 entries in 64 MiB, as the header is checked for; a window of the directory
// and the entries are kept.
//
// Threads: plain functions and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

inline constexpr uint32_t kBitmapInUse = 1u << 0;
inline constexpr uint32_t kBitmapAuto = 1u << 1;  // it records every change: enabled
inline constexpr uint32_t kBitmapExtraCompatible = 1u
                                                   << 2;  // usable without knowing its extra data
inline constexpr uint8_t kBitmapDirtyTracking = 1;        // the only type
inline constexpr uint32_t kMinGranularityBits = 9;
inline constexpr uint32_t kMaxGranularityBits = 31;
inline constexpr uint32_t kMaxBitmapNameBytes = 1023;
inline constexpr uint64_t kMaxBitmapBytes = 512ull << 20;  // of one bitmap, whole clusters
inline constexpr uint64_t kBitmapFlagsAt = 12;             // bytes into an entry; 4 of them

struct StoredBitmap {
  std::string name;
  HostOffset table;
  uint32_t table_entries = 0;
  uint32_t flags = 0;
  uint8_t type = kBitmapDirtyTracking;
  uint8_t granularity_bits = 16;
  std::vector<std::byte> extra;  // kept as it is
  uint64_t place = 0;            // of its entry, bytes into the directory; not written

  bool in_use() const { return (flags & kBitmapInUse) != 0; }
  bool enabled() const { return (flags & kBitmapAuto) != 0; }
};

// All entries, in their order; none if the header names no bitmaps that are in force. kCorrupt: the
// directory is broken.
Result<std::vector<StoredBitmap>> ReadBitmapDirectory(File& file, const Qcow2Header& header);
std::vector<std::byte> EncodeBitmapDirectory(std::span<const StoredBitmap> bitmaps);

// How many table entries a bitmap of a disk of `size` bytes has: one per cluster of bits.
uint64_t BitmapTableEntries(const Geometry& geometry, uint32_t granularity_bits, uint64_t size);
// Why the bits mean nothing to us, as a phrase for people; empty if they can be used. A bitmap that
// is in use, and so inconsistent, is well-formed all the same.
std::string WhyUnusable(const StoredBitmap& bitmap, const Geometry& geometry, uint64_t size);

}  // namespace chainfs::qcow2
