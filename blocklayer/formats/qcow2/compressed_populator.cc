// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/compressed_populator.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/formats/qcow2/compressed_packing.h"
#include "blocklayer/formats/qcow2/decompress.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kStoredSector = 512;  // an entry states the length in these

}  // namespace

Status CompressedPopulator::Populate(std::span<const CompressedCluster> clusters) {
  if (clusters.empty()) return {};
  CHAINFS_TRY(Check(clusters));
  Clusters mixed;
  {
    const uint64_t end = clusters.back().offset.value + tables_.geometry().cluster_size();
    const RangeLock::Holder holder(range_lock_, clusters.front().offset,
                                   end - clusters.front().offset.value);
    CHAINFS_ASSIGN(const Clusters missing, OfKind(ClusterKind::kUnallocated, clusters));
    CHAINFS_ASSIGN(mixed, OfKind(ClusterKind::kMixed, clusters));
    for (std::span<const CompressedCluster> rest = missing; !rest.empty();) {
      CHAINFS_ASSIGN(const uint64_t stored, Store(rest));
      rest = rest.subspan(stored);
    }
  }
  return PopulatePlain(mixed);
}

Status CompressedPopulator::PopulatePlain(std::span<const CompressedCluster> mixed) {
  if (mixed.empty()) return {};
  std::vector<std::byte> data(tables_.geometry().cluster_size());
  for (const CompressedCluster& cluster : mixed) {
    CHAINFS_TRY(DecompressCluster(compression_type_, cluster.bytes, data));
    const uint64_t shown =
        std::min<uint64_t>(data.size(), tables_.header().virtual_size() - cluster.offset.value);
    CHAINFS_TRY(plain_.Populate(cluster.offset, std::span(data).first(shown)));
  }
  return {};
}

Status CompressedPopulator::Check(std::span<const CompressedCluster> clusters) const {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  uint64_t next = 0;
  for (const CompressedCluster& cluster : clusters) {
    const bool in_order = cluster.offset.value >= next &&
                          cluster.offset.Within(cluster_size) == 0 &&
                          cluster.offset.value < tables_.header().virtual_size();
    if (!in_order || cluster.bytes.empty() || cluster.bytes.size() >= cluster_size) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("{}: {} bytes at {} are no compressed cluster", file_.path(),
                              cluster.bytes.size(), cluster.offset.value));
    }
    next = cluster.offset.value + cluster_size;
  }
  return {};
}

Result<CompressedPopulator::Clusters> CompressedPopulator::OfKind(
    ClusterKind kind, std::span<const CompressedCluster> clusters) const {
  Clusters alike;
  alike.reserve(clusters.size());
  for (const CompressedCluster& cluster : clusters) {
    CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(cluster.offset));
    if (mapping.kind == kind) alike.push_back(cluster);
  }
  return alike;
}

Result<uint64_t> CompressedPopulator::Store(std::span<const CompressedCluster> clusters) {
  const Geometry& geometry = tables_.geometry();
  uint64_t bytes = 0;
  for (const CompressedCluster& cluster : clusters) bytes += cluster.bytes.size();
  CHAINFS_ASSIGN(ClusterRun run,
                 tables_.clusters().AllocateUnused(DivRoundUp(bytes, geometry.cluster_size())));
  const HostOffset host = geometry.HostOf(run.first);
  const CompressedPacking packing = CompressedPacking::Make(geometry, clusters, run.count);
  if (geometry.HostOf(run.first + run.count).value > geometry.l2().compressed_end()) {
    tables_.clusters().ReleaseUnlinked(run);
    return Fail(
        ErrorKind::kNoSpace,
        fmt::format("{}: the image file is too large for more compressed clusters", file_.path()));
  }
  if (Status counted = tables_.clusters().SetUsers(run, packing.users); !counted) {
    return std::unexpected(std::move(counted).error());
  }
  clusters = clusters.first(packing.offsets.size());
  std::vector<HostOffset> places;
  places.reserve(clusters.size());
  for (const uint64_t offset : packing.offsets) places.push_back(host + offset);
  // Whole sectors, so that nobody who reads the last one meets the end of the file.
  std::vector<std::byte> stored(RoundUp(packing.bytes, kStoredSector));
  for (size_t i = 0; i < clusters.size(); ++i) {
    std::ranges::copy(clusters[i].bytes,
                      stored.begin() + static_cast<ptrdiff_t>(packing.offsets[i]));
  }
  if (Status written = file_.WriteAt(host, stored); !written) {
    GiveUp(clusters, places);
    return std::unexpected(std::move(written).error());
  }
  CHAINFS_TRY(Link(clusters, places));
  return clusters.size();
}

Status CompressedPopulator::Link(std::span<const CompressedCluster> clusters,
                                 std::span<const HostOffset> places) {
  const Geometry& geometry = tables_.geometry();
  for (size_t i = 0; i < clusters.size();) {
    // Those that follow one another, in one go.
    std::vector<L2Entry> entries;
    size_t j = i;
    do {
      entries.push_back(geometry.l2().Compressed(places[j], clusters[j].bytes.size()));
      ++j;
    } while (j < clusters.size() &&
             clusters[j].offset == clusters[j - 1].offset + geometry.cluster_size());
    if (Status linked = tables_.l2().SetEntries(clusters[i].offset, entries); !linked) {
      GiveUp(clusters.subspan(i), places.subspan(i));
      return linked;
    }
    i = j;
  }
  return {};
}

void CompressedPopulator::GiveUp(std::span<const CompressedCluster> clusters,
                                 std::span<const HostOffset> places) {
  for (size_t i = 0; i < clusters.size(); ++i) {
    const TouchedClusters touched =
        TouchedBy(tables_.geometry(), places[i], clusters[i].bytes.size());
    tables_.clusters().ReleaseUnlinked(
        {.first = touched.first, .count = touched.count, .beyond_file = false});
  }
}

}  // namespace chainfs::qcow2
