// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_populator.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/formats/qcow2/cluster_writer.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kZeroPiece = 4ull << 20;  // bytes of zeros written at once
constexpr uint64_t kEntries = 4096;          // without data of their own, set at once

}  // namespace

Status ClusterPopulator::ForUnallocated(GuestOffset offset, uint64_t length,
                                        const PopulateRun& populate,
                                        const PopulateRest& populate_rest) {
  const Geometry& geometry = tables_.geometry();
  const uint64_t clusters = DivRoundUp(length, geometry.cluster_size());
  const RangeLock::Holder holder(range_lock_, offset, clusters << geometry.cluster_bits);
  const IoEpoch::Guard guard = epoch_.Enter();
  for (uint64_t i = 0; i < clusters;) {
    uint64_t j = i;
    ClusterMapping mapping;  // of the one that ends the run
    for (; j < clusters; ++j) {
      CHAINFS_ASSIGN(mapping, tables_.l2().Lookup(offset + (j << geometry.cluster_bits)));
      if (mapping.kind != ClusterKind::kUnallocated) break;
    }
    while (i < j) {
      CHAINFS_ASSIGN(const uint64_t done, populate(i, j - i));
      i += done;
    }
    if (i == clusters) break;
    if (mapping.kind == ClusterKind::kMixed) CHAINFS_TRY(populate_rest(i, mapping));
    ++i;  // allocated now
  }
  return {};
}

Status ClusterPopulator::PopulateRuns(GuestOffset offset, uint64_t length, const FillRun& fill) {
  const Geometry& geometry = tables_.geometry();
  const auto fill_run = [&](uint64_t index, uint64_t clusters) -> Result<uint64_t> {
    const uint64_t skip = index << geometry.cluster_bits;
    CHAINFS_ASSIGN(const ClusterRun run, tables_.clusters().Allocate(offset + skip, clusters));
    const uint64_t bytes = std::min(run.count << geometry.cluster_bits, length - skip);
    Status status = fill(skip, bytes, geometry.HostOf(run.first));
    const uint64_t padding = (run.count << geometry.cluster_bits) - bytes;
    if (status && padding > 0 && !run.beyond_file && !geometry.external_data) {
      status = file_.ZeroRange(geometry.HostOf(run.first) + bytes, padding);
    }
    if (status) {
      status = tables_.l2().SetEntries(offset + skip, NormalEntries(geometry, run));
    }
    if (!status) {
      tables_.clusters().ReleaseUnlinked(run);
      return std::unexpected(std::move(status).error());
    }
    return run.count;
  };
  const auto fill_rest = [&](uint64_t index, const ClusterMapping& before) {
    const uint64_t skip = index << geometry.cluster_bits;
    return FillRest({.cluster = offset + skip, .skip = skip, .length = length}, before, fill);
  };
  return ForUnallocated(offset, length, fill_run, fill_rest);
}

Status ClusterPopulator::FillRest(const Rest& rest, const ClusterMapping& before,
                                  const FillRun& fill) {
  const Geometry& geometry = tables_.geometry();
  ClusterMapping now = before;
  if (ClusterUnsharer::IsNeeded(before)) {
    CHAINFS_ASSIGN(now, unsharer_.Unshare(rest.cluster, before));
  }
  ClusterRun run{.first = geometry.ClusterOf(now.host), .count = 1, .beyond_file = false};
  const bool fresh = !now.has_cluster();
  if (fresh) {
    CHAINFS_ASSIGN(run, tables_.clusters().Allocate(rest.cluster, 1));
    now.host = geometry.HostOf(run.first);
    now.copied = true;
  } else {
    CHAINFS_TRY(tables_.clusters().Check(rest.cluster, run.first, 1));
  }
  Status status = FillSubclusters(rest, now, fill);
  if (status) {
    const L2Entry entry = geometry.l2().WithSubclusters(now);
    status = tables_.l2().SetEntries(rest.cluster, std::span(&entry, 1));
  }
  if (!status && fresh) tables_.clusters().ReleaseUnlinked(run);
  return status;
}

Status ClusterPopulator::FillSubclusters(const Rest& rest, ClusterMapping& now,
                                         const FillRun& fill) {
  const uint64_t subcluster_size = tables_.geometry().subcluster_size();
  for (uint32_t first = 0; first < kSubclusters;) {
    const uint32_t alike = now.AlikeFrom(first);
    const uint64_t within = first * subcluster_size;
    if (rest.skip + within >= rest.length) break;  // the end of the disk
    if (now.KindOf(first) == ClusterKind::kUnallocated) {
      const uint64_t bytes = std::min(alike * subcluster_size, rest.length - rest.skip - within);
      CHAINFS_TRY(fill(rest.skip + within, bytes, now.host + within));
      const uint64_t end = RoundUp(bytes, subcluster_size);
      if (end > bytes && !tables_.geometry().external_data) {
        CHAINFS_TRY(file_.ZeroRange(now.host + (within + bytes), end - bytes));
      }
      now.allocated |=
          SubclusterSet(first, first + static_cast<uint32_t>(end / subcluster_size) - 1);
    }
    first += alike;
  }
  return {};
}

Status ClusterPopulator::Populate(GuestOffset offset, std::span<const std::byte> data) {
  return PopulateRuns(offset, data.size(), [&](uint64_t skip, uint64_t bytes, HostOffset host) {
    return file_.WriteAt(host, data.subspan(skip, bytes));
  });
}

Status ClusterPopulator::PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                                          HostOffset source_offset) {
  return PopulateRuns(offset, length, [&](uint64_t skip, uint64_t bytes, HostOffset host) {
    return file_.CopyRangeFrom(source, source_offset + skip, host, bytes);
  });
}

Status ClusterPopulator::PopulateZeroes(GuestOffset offset, uint64_t length) {
  const Geometry& geometry = tables_.geometry();
  if (geometry.version < 3) {
    // Version 2 cannot say "zero" over a backing file: real zeros.
    const std::vector<std::byte> zeros(std::min(length, kZeroPiece));
    for (uint64_t done = 0; done < length; done += zeros.size()) {
      // Others may have found broken tables since the last piece.
      if (tables_.corruption().found()) {
        return Fail(ErrorKind::kReadOnly, fmt::format("{}: cannot be written: {}", file_.path(),
                                                      tables_.corruption().reason()));
      }
      const uint64_t piece = std::min<uint64_t>(zeros.size(), length - done);
      CHAINFS_TRY(Populate(offset + done, std::span(zeros).first(piece)));
      CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
    }
    return {};
  }
  const auto zero_run = [&](uint64_t index, uint64_t clusters) -> Result<uint64_t> {
    const std::vector<L2Entry> entries(std::min(clusters, kEntries), geometry.l2().Zero());
    CHAINFS_TRY(tables_.l2().SetEntries(offset + (index << geometry.cluster_bits), entries));
    return entries.size();
  };
  const auto zero_rest = [&](uint64_t index, const ClusterMapping& before) {
    ClusterMapping now = before;
    now.zeroes |= ~now.allocated;
    const L2Entry entry = geometry.l2().WithSubclusters(now);
    return tables_.l2().SetEntries(offset + (index << geometry.cluster_bits), std::span(&entry, 1));
  };
  return ForUnallocated(offset, length, zero_run, zero_rest);
}

Status ClusterPopulator::Unpopulate(GuestOffset offset, uint64_t length) {
  const Geometry& geometry = tables_.geometry();
  const uint64_t clusters = DivRoundUp(length, geometry.cluster_size());
  for (uint64_t done = 0; done < clusters;) {
    const GuestOffset first = offset + (done << geometry.cluster_bits);
    const uint64_t batch = std::min(clusters - done, kEntries);
    CHAINFS_ASSIGN(const SlicePtr slice, tables_.l2().Slice(first));
    if (slice == nullptr) {
      CHAINFS_ASSIGN(const uint64_t empty, tables_.l1().BytesWithoutL2(first));
      done += std::min(clusters - done, empty >> geometry.cluster_bits);
      continue;
    }
    CHAINFS_TRY(UnlinkClusters(first, batch));
    CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
    done += batch;
  }
  return {};
}

Status ClusterPopulator::UnlinkClusters(GuestOffset first, uint64_t clusters) {
  const Geometry& geometry = tables_.geometry();
  const RangeLock::Holder holder(range_lock_, first, clusters << geometry.cluster_bits);
  for (uint64_t i = 0; i < clusters;) {
    uint64_t j = i;
    for (; j < clusters; ++j) {
      CHAINFS_ASSIGN(const ClusterMapping mapping,
                     tables_.l2().Lookup(first + (j << geometry.cluster_bits)));
      if (mapping.kind == ClusterKind::kUnallocated) break;
    }
    if (j > i) {
      const std::vector<L2Entry> entries(j - i, geometry.l2().Unallocated());
      CHAINFS_TRY(tables_.l2().SetEntries(first + (i << geometry.cluster_bits), entries));
    }
    i = j + 1;
  }
  return {};
}

}  // namespace chainfs::qcow2
