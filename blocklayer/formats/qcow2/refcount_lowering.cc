// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_lowering.h"

#include <algorithm>
#include <span>
#include <vector>

#include "blocklayer/formats/qcow2/reference_count.h"

namespace chainfs::qcow2 {
namespace {

Status LowerBlock(File& file, const Geometry& geometry, const ReferenceWindow& window,
                  HostOffset place, uint64_t first, uint64_t end, const std::byte* block) {
  constexpr uint64_t kSector = 512;
  std::vector<std::byte> lowered(block, block + geometry.cluster_size());
  for (uint64_t cluster = first; cluster < end; ++cluster) {
    const uint64_t index = cluster % geometry.refblock_entries();
    const uint64_t references = window.References(cluster);
    if (LoadRefcount(block, index, geometry.refcount_order) > references) {
      StoreRefcount(lowered.data(), index, geometry.refcount_order, references);
    }
  }
  for (uint64_t at = 0; at < lowered.size(); at += kSector) {
    const std::span<const std::byte> sector = std::span(lowered).subspan(at, kSector);
    if (std::equal(sector.begin(), sector.end(), block + at)) continue;
    CHAINFS_TRY(file.WriteAt(place + at, sector));
  }
  return {};
}

}  // namespace

Status LowerRefcounts(File& file, const Qcow2Header& header, ReferenceWindow& window,
                      const WalkControl& control) {
  const Geometry geometry = header.geometry();
  CHAINFS_ASSIGN(const RefcountsOnDisk refcounts, RefcountsOnDisk::Load(file, header));
  CHAINFS_ASSIGN(const uint64_t clusters, CountedClusters(file, geometry));
  CountHooks hooks;
  hooks.window = [&](const ReferenceWindow& counted) -> Status {
    // The last cluster may lie behind the file: what its count says is nobody's business.
    return refcounts.ForEachBlock(
        counted.first(), std::min(counted.end(), clusters - 1),
        [&](uint64_t first, uint64_t end, const std::byte* block) -> Status {
          if (block == nullptr) return {};
          return LowerBlock(file, geometry, counted,
                            refcounts.PlaceOf(first / geometry.refblock_entries()), first, end,
                            block);
        });
  };
  CHAINFS_TRY(CountReferences(file, header, refcounts, window, control, hooks));
  return file.DataSync();
}

}  // namespace chainfs::qcow2
