// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_list.h"

#include <bit>

#include "blocklayer/formats/qcow2/bitmap_table.h"

namespace chainfs::qcow2 {
namespace {

uint64_t CountOnes(std::span<const std::byte> bytes) {
  uint64_t ones = 0;
  for (const std::byte b : bytes) ones += static_cast<uint64_t>(std::popcount(uint8_t(b)));
  return ones;
}

}  // namespace

Result<std::vector<BitmapInfo>> ListBitmaps(File& file, const Qcow2Header& header, uint64_t size) {
  uint64_t budget = 256ull << 20;
  CHAINFS_ASSIGN(const std::vector<StoredBitmap> stored, ReadBitmapDirectory(file, header));
  const Geometry geometry = header.geometry();
  std::vector<BitmapInfo> infos;
  infos.reserve(stored.size());
  for (const StoredBitmap& bitmap : stored) {
    BitmapInfo info{.name = bitmap.name,
                    .granularity = 1ull << (bitmap.granularity_bits % 64),
                    .enabled = bitmap.enabled(),
                    .in_use = bitmap.in_use(),
                    .problem = WhyUnusable(bitmap, geometry, size)};
    info.inconsistent = info.in_use || !info.problem.empty();
    if (!info.inconsistent) {
      uint64_t ones = 0;
      const Status counted =
          ForEachDirtyCluster(file, geometry, bitmap, size, budget,
                              [&](uint64_t, std::span<const std::byte> bytes) -> Status {
                                budget -= bytes.size();
                                ones += CountOnes(bytes);
                                return {};
                              });
      if (counted) info.dirty_bytes = ones * info.granularity;
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

}  // namespace chainfs::qcow2
