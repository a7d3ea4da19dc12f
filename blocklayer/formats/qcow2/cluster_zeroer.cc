// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_zeroer.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace chainfs::qcow2 {
namespace {

// Clusters changed under one hold of the range lock.
constexpr uint64_t kBatch = 4096;
constexpr uint64_t kZeroBuffer = 1ull << 20;

}  // namespace

Status ClusterZeroer::ZeroClusters(GuestOffset first, uint64_t clusters, ZeroWish wish) {
  const Geometry& geometry = tables_.geometry();
  const bool has_backing = HasBelow();
  const L2Entry gone = geometry.l2().Zero();
  const RangeLock::Holder holder(range_lock_, first, clusters << geometry.cluster_bits);
  std::vector<L2Entry> entries;  // for the clusters just before `i`
  const auto set_entries = [&](uint64_t end) -> Status {
    if (entries.empty()) return {};
    const GuestOffset at = first + ((end - entries.size()) << geometry.cluster_bits);
    Status status = tables_.l2().SetEntries(at, entries);
    entries.clear();
    return status;
  };
  for (uint64_t i = 0; i < clusters; ++i) {
    CHAINFS_ASSIGN(const ClusterMapping mapping,
                   tables_.l2().Lookup(first + (i << geometry.cluster_bits)));
    const bool may_keep = wish == ZeroWish::kKeepAllocated && geometry.version >= 3;
    std::optional<L2Entry> entry;
    if (mapping.kind == ClusterKind::kUnallocated) {
      if (has_backing) entry = gone;
    } else if (mapping.kind == ClusterKind::kNormal && mapping.copied && may_keep) {
      entry = geometry.l2().ZeroAllocated(mapping.host);
    } else if (mapping.kind == ClusterKind::kZeroAllocated) {
      if (!may_keep) entry = gone;
    } else if (mapping.kind != ClusterKind::kZeroPlain) {
      entry = gone;
    }
    if (entry) {
      entries.push_back(*entry);
    } else {
      CHAINFS_TRY(set_entries(i));
    }
  }
  return set_entries(clusters);
}

Status ClusterZeroer::ZeroWholeClusters(GuestOffset first, uint64_t clusters, ZeroWish wish) {
  const Geometry& geometry = tables_.geometry();
  const bool has_backing = HasBelow();
  for (uint64_t done = 0; done < clusters;) {
    const GuestOffset position = first + (done << geometry.cluster_bits);
    uint64_t batch = std::min(clusters - done, kBatch);
    if (!has_backing) {
      // Where there is no L2 table there is nothing to take away.
      CHAINFS_ASSIGN(const SlicePtr slice, tables_.l2().Slice(position));
      if (slice == nullptr) {
        CHAINFS_ASSIGN(const uint64_t empty, tables_.l1().BytesWithoutL2(position));
        done += std::min(clusters - done, empty >> geometry.cluster_bits);
        continue;
      }
    }
    CHAINFS_TRY(ZeroClusters(position, batch, wish));
    CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
    done += batch;
  }
  return {};
}

Status ClusterZeroer::WriteZeroBytes(GuestOffset offset, uint64_t length,
                                     const BackingReader* below) {
  const std::vector<std::byte> zeros(std::min(length, kZeroBuffer));
  for (uint64_t done = 0; done < length;) {
    const uint64_t piece = std::min<uint64_t>(zeros.size(), length - done);
    CHAINFS_TRY(writer_.Write(offset + done, std::span(zeros).first(piece), below));
    CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
    done += piece;
  }
  return {};
}

Status ClusterZeroer::ZeroPartial(GuestOffset offset, uint64_t length, const BackingReader* below) {
  if (length == 0) return {};
  CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(offset));
  const bool zero_already = mapping.kind == ClusterKind::kZeroPlain ||
                            mapping.kind == ClusterKind::kZeroAllocated ||
                            (mapping.kind == ClusterKind::kUnallocated && below == nullptr);
  if (zero_already) return {};
  return WriteZeroBytes(offset, length, below);
}

Status ClusterZeroer::ZeroRange(GuestOffset offset, uint64_t length, ZeroWish wish,
                                const BackingReader* below) {
  const uint64_t end = offset.value + length;
  const auto [whole_begin, whole_end] = WholeClustersOf(offset, length);
  if (whole_begin >= whole_end) {
    // Within one cluster, or across one boundary.
    const uint64_t here = std::min(length, whole_begin - offset.value);
    CHAINFS_TRY(ZeroPartial(offset, here == 0 ? length : here, below));
    return here == 0 ? Status() : ZeroPartial(offset + here, length - here, below);
  }
  CHAINFS_TRY(ZeroPartial(offset, whole_begin - offset.value, below));
  CHAINFS_TRY(ZeroWholeClusters(GuestOffset(whole_begin),
                                (whole_end - whole_begin) >> tables_.geometry().cluster_bits,
                                wish));
  if (whole_end >= end) return {};
  return ZeroPartial(GuestOffset(whole_end), end - whole_end, below);
}

ClusterZeroer::WholeClusters ClusterZeroer::WholeClustersOf(GuestOffset offset,
                                                            uint64_t length) const {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t end = offset.value + length;
  const bool to_the_end = end >= tables_.header().virtual_size();
  return {.begin = RoundUp(offset.value, cluster_size),
          .end = to_the_end ? RoundUp(end, cluster_size) : RoundDown(end, cluster_size)};
}

Status ClusterZeroer::WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                                  const BackingReader* below) {
  if (tables_.geometry().version < 3 && HasBelow()) return WriteZeroBytes(offset, length, below);
  return ZeroRange(offset, length, keep_allocated ? ZeroWish::kKeepAllocated : ZeroWish::kGiveBack,
                   below);
}

Status ClusterZeroer::Discard(GuestOffset offset, uint64_t length) {
  if (tables_.geometry().version < 3 && HasBelow()) return {};
  const auto [begin, end] = WholeClustersOf(offset, length);
  if (begin >= end) return {};
  return ZeroWholeClusters(GuestOffset(begin), (end - begin) >> tables_.geometry().cluster_bits,
                           ZeroWish::kGiveBack);
}

Status ClusterZeroer::ZeroExposed(uint64_t old_size, uint64_t new_size, const BackingReader* below,
                                  uint64_t backing_size) {
  // The rest of the last cluster was never visible; it may hold anything, or the backing's bytes.
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t last_end = RoundUp(old_size, cluster_size);
  CHAINFS_TRY(ZeroPartial(GuestOffset(old_size), last_end - old_size,
                          backing_size > old_size ? below : nullptr));
  if (backing_size <= last_end) return {};
  const uint64_t end =
      std::min(RoundUp(backing_size, cluster_size), RoundUp(new_size, cluster_size));
  if (end <= last_end) return {};
  const uint64_t exposed = end - last_end;
  if (tables_.geometry().version < 3) return WriteZeroBytes(GuestOffset(last_end), exposed, below);
  return ZeroWholeClusters(GuestOffset(last_end), exposed / cluster_size, ZeroWish::kGiveBack);
}

Status ClusterZeroer::ZeroBeyondEnd() {
  const GuestOffset end(tables_.header().virtual_size());
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t within = end.Within(cluster_size);
  if (within == 0) return {};
  CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(end));
  // A compressed one stays as it is: growing looks at it again.
  if (mapping.kind != ClusterKind::kNormal) return {};
  return WriteZeroBytes(end, cluster_size - within, nullptr);
}

}  // namespace chainfs::qcow2
