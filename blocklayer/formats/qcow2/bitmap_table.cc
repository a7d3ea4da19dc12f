// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

// The first bits of the last byte are the disk's; what a torn or careless writer left behind them
// is not.
void ClearBeyond(std::span<std::byte> bytes, uint64_t bits) {
  const uint64_t rest = bits % 8;
  if (rest != 0 && bytes.size() == bits / 8 + 1) {
    bytes.back() &= std::byte{static_cast<uint8_t>((1u << rest) - 1)};
  }
}

}  // namespace

Status ForEachBitmapTableEntry(File& file, const Geometry& geometry, const StoredBitmap& bitmap,
                               const std::function<Status(uint64_t index, uint64_t entry)>& visit) {
  return ForEachL1Entry(
      file, bitmap.table, bitmap.table_entries, [&](uint64_t index, uint64_t entry) -> Status {
        const bool placed = (entry & kBitmapPlaceMask) != 0;
        const uint64_t known = placed ? kBitmapPlaceMask : kBitmapAllOnes;
        if ((entry & ~known) != 0 ||
            (placed && HostOffset(entry).Within(geometry.cluster_size()) != 0)) {
          return Fail(ErrorKind::kCorrupt,
                      fmt::format("{}: entry {} of the table of a bitmap is broken: {:#x}",
                                  file.path(), index, entry));
        }
        return visit(index, entry);
      });
}

Status ForEachDirtyCluster(
    File& file, const Geometry& geometry, const StoredBitmap& bitmap, uint64_t size,
    uint64_t max_bytes,
    const std::function<Status(uint64_t first_bit, std::span<const std::byte> bytes)>& visit) {
  const uint64_t bits = DivRoundUp(size, 1ull << bitmap.granularity_bits);
  const uint64_t bits_per_cluster = geometry.cluster_size() * 8;
  std::vector<std::byte> bytes;
  return ForEachBitmapTableEntry(
      file, geometry, bitmap, [&](uint64_t index, uint64_t entry) -> Status {
        const uint64_t first = index * bits_per_cluster;
        if (first >= bits) return {};
        const uint64_t here = std::min(bits - first, bits_per_cluster);
        const uint64_t length = DivRoundUp(here, 8);
        if (length > max_bytes) {
          return Fail(ErrorKind::kNoMemory,
                      fmt::format("{}: its bitmaps are too large to be read", file.path()));
        }
        max_bytes -= length;
        bytes.assign(length, std::byte{0xff});
        if (entry != kBitmapAllOnes) {
          CHAINFS_TRY(file.ReadZeroFilled(HostOffset(entry & kBitmapPlaceMask), bytes));
        }
        ClearBeyond(bytes, here);
        return visit(first, bytes);
      });
}

Status ForEachBitmapExtent(File& file, const Qcow2Header& header,
                           const std::function<Status(const MetadataExtent&)>& visit) {
  if (!header.has_bitmaps) return {};
  const Geometry geometry = header.geometry();
  CHAINFS_TRY(visit({"bitmap directory", header.bitmap_directory, header.bitmap_directory_bytes}));
  CHAINFS_ASSIGN(const std::vector<StoredBitmap> bitmaps, ReadBitmapDirectory(file, header));
  for (const StoredBitmap& bitmap : bitmaps) {
    CHAINFS_TRY(visit({"bitmap table", bitmap.table, uint64_t{bitmap.table_entries} * 8}));
    CHAINFS_TRY(ForEachBitmapTableEntry(
        file, geometry, bitmap, [&](uint64_t /*index*/, uint64_t entry) -> Status {
          const HostOffset host(entry & kBitmapPlaceMask);
          if (host.value == 0) return {};
          return visit({"bits of a bitmap", host, geometry.cluster_size()});
        }));
  }
  return {};
}

}  // namespace chainfs::qcow2
