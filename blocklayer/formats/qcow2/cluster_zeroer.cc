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
    } else if ((mapping.kind == ClusterKind::kNormal || mapping.kind == ClusterKind::kMixed) &&
               mapping.copied && may_keep) {
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

Result<bool> ClusterZeroer::ZeroSubclusters(GuestOffset cluster, uint32_t first, uint32_t last,
                                            ZeroWish wish) {
  const Geometry& geometry = tables_.geometry();
  const RangeLock::Holder holder(range_lock_, cluster, geometry.cluster_size());
  CHAINFS_ASSIGN(const ClusterMapping before, tables_.l2().Lookup(cluster));
  if (before.kind == ClusterKind::kCompressed) return false;
  if (before.kind == ClusterKind::kUnallocated && !HasBelow()) return true;
  const uint32_t set = SubclusterSet(first, last);
  ClusterMapping now = before;
  now.allocated &= ~set;
  now.zeroes |= set;
  if (now.allocated == before.allocated && now.zeroes == before.zeroes) return true;
  const bool given_back =
      now.zeroes == kAllSubclusters && (wish == ZeroWish::kGiveBack || !before.copied);
  const L2Entry entry = given_back ? geometry.l2().Zero() : geometry.l2().WithSubclusters(now);
  CHAINFS_TRY(tables_.l2().SetEntries(cluster, std::span(&entry, 1)));
  return true;
}

Status ClusterZeroer::ZeroAlike(GuestOffset offset, uint64_t length, const BackingReader* below) {
  if (length == 0) return {};
  CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(offset));
  const ClusterKind kind = mapping.kind == ClusterKind::kMixed
                               ? mapping.KindOf(tables_.geometry().SubclusterOf(offset))
                               : mapping.kind;
  const bool zero_already = kind == ClusterKind::kZeroPlain ||
                            kind == ClusterKind::kZeroAllocated ||
                            (kind == ClusterKind::kUnallocated && below == nullptr);
  if (zero_already) return {};
  return WriteZeroBytes(offset, length, below);
}

Status ClusterZeroer::ZeroPartial(GuestOffset offset, uint64_t length, ZeroWish wish,
                                  const BackingReader* below) {
  const Geometry& geometry = tables_.geometry();
  if (!geometry.extended_l2) return ZeroAlike(offset, length, below);
  const uint64_t end = offset.value + length;
  const uint64_t begin_whole = RoundUp(offset.value, geometry.subcluster_size());
  const bool to_the_end = end >= tables_.header().virtual_size();
  const uint64_t end_whole = to_the_end ? RoundUp(end, geometry.subcluster_size())
                                        : RoundDown(end, geometry.subcluster_size());
  if (begin_whole >= end_whole) {
    // Within one subcluster, or across one boundary.
    const uint64_t here = std::min(length, begin_whole - offset.value);
    CHAINFS_TRY(ZeroAlike(offset, here, below));
    return ZeroAlike(offset + here, length - here, below);
  }
  CHAINFS_TRY(ZeroAlike(offset, begin_whole - offset.value, below));
  CHAINFS_ASSIGN(const bool zeroed,
                 ZeroSubclusters(offset.AlignDown(geometry.cluster_size()),
                                 geometry.SubclusterOf(GuestOffset(begin_whole)),
                                 geometry.SubclusterOf(GuestOffset(end_whole - 1)), wish));
  if (!zeroed) return WriteZeroBytes(GuestOffset(begin_whole), end - begin_whole, below);
  CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
  if (end_whole >= end) return {};
  return ZeroAlike(GuestOffset(end_whole), end - end_whole, below);
}

Status ClusterZeroer::ZeroRange(GuestOffset offset, uint64_t length, ZeroWish wish,
                                const BackingReader* below) {
  const uint64_t end = offset.value + length;
  const auto [whole_begin, whole_end] = WholeClustersOf(offset, length);
  if (whole_begin >= whole_end) {
    // Within one cluster, or across one boundary.
    const uint64_t here = std::min(length, whole_begin - offset.value);
    CHAINFS_TRY(ZeroPartial(offset, here == 0 ? length : here, wish, below));
    return here == 0 ? Status() : ZeroPartial(offset + here, length - here, wish, below);
  }
  CHAINFS_TRY(ZeroPartial(offset, whole_begin - offset.value, wish, below));
  CHAINFS_TRY(ZeroWholeClusters(GuestOffset(whole_begin),
                                (whole_end - whole_begin) >> tables_.geometry().cluster_bits,
                                wish));
  if (whole_end >= end) return {};
  return ZeroPartial(GuestOffset(whole_end), end - whole_end, wish, below);
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
  CHAINFS_TRY(ZeroPartial(GuestOffset(old_size), last_end - old_size, ZeroWish::kGiveBack,
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
  const Geometry& geometry = tables_.geometry();
  const GuestOffset end(tables_.header().virtual_size());
  const uint64_t cluster_end = RoundUp(end.value, geometry.cluster_size());
  if (end.value == cluster_end) return {};
  CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(end));
  if (mapping.kind == ClusterKind::kMixed) {
    // The subcluster that the end lies in shows a part of itself; those behind it show nothing.
    const uint64_t zeroed_end = RoundUp(end.value, geometry.subcluster_size());
    if (mapping.KindOf(geometry.SubclusterOf(end)) == ClusterKind::kNormal) {
      CHAINFS_TRY(WriteZeroBytes(end, zeroed_end - end.value, nullptr));
    }
    if (zeroed_end == cluster_end) return {};
    CHAINFS_TRY(ZeroSubclusters(end.AlignDown(geometry.cluster_size()),
                                geometry.SubclusterOf(GuestOffset(zeroed_end)), kSubclusters - 1,
                                ZeroWish::kGiveBack));
    return {};
  }
  // A compressed one stays as it is: growing looks at it again.
  if (mapping.kind != ClusterKind::kNormal) return {};
  return WriteZeroBytes(end, cluster_end - end.value, nullptr);
}

}  // namespace chainfs::qcow2
