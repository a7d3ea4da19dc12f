// SPDX-License-Identifier: Apache-2.0
//
// Discard, write-zeroes and growing: what makes ranges read as zeros.
//
// A discarded cluster gets the zero flag (version 3), never "unallocated" where a backing file
// would shine through. Version 2 has no such flag: without a backing file the entry becomes empty;
// with one, discard changes nothing and write-zeroes writes zeros.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/qcow2_image_impl.h"

namespace chainfs::qcow2 {
namespace {

// Clusters changed under one hold of the range lock.
constexpr uint64_t kBatch = 4096;
constexpr uint64_t kZeroBuffer = 1ull << 20;

}  // namespace

Status Qcow2Image::ZeroClusters(GuestOffset first, uint64_t clusters, ZeroWish wish) {
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

Status Qcow2Image::ZeroWholeClusters(GuestOffset first, uint64_t clusters, ZeroWish wish) {
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
    CHAINFS_TRY(CommitIfMuchIsDirty());
    done += batch;
  }
  return {};
}

Status Qcow2Image::WriteZeroBytes(GuestOffset offset, uint64_t length, const BackingReader* below) {
  const std::vector<std::byte> zeros(std::min(length, kZeroBuffer));
  for (uint64_t done = 0; done < length;) {
    const uint64_t piece = std::min<uint64_t>(zeros.size(), length - done);
    CHAINFS_TRY(WriteRange(offset + done, std::span(zeros).first(piece), below));
    CHAINFS_TRY(CommitIfMuchIsDirty());
    done += piece;
  }
  return {};
}

// Within one cluster.
Status Qcow2Image::ZeroPartial(GuestOffset offset, uint64_t length, const BackingReader* below) {
  if (length == 0) return {};
  CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(offset));
  const bool zero_already = mapping.kind == ClusterKind::kZeroPlain ||
                            mapping.kind == ClusterKind::kZeroAllocated ||
                            (mapping.kind == ClusterKind::kUnallocated && below == nullptr);
  if (zero_already) return {};
  return WriteZeroBytes(offset, length, below);
}

// `end` of the disk counts as the end of a cluster.
Status Qcow2Image::ZeroRange(GuestOffset offset, uint64_t length, ZeroWish wish,
                             const BackingReader* below) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t end = offset.value + length;
  const uint64_t whole_begin = RoundUp(offset.value, cluster_size);
  const uint64_t whole_end =
      end >= virtual_size() ? RoundUp(end, cluster_size) : RoundDown(end, cluster_size);
  if (whole_begin >= whole_end) {
    // Within one cluster, or across one boundary.
    const uint64_t here = std::min(length, whole_begin - offset.value);
    CHAINFS_TRY(ZeroPartial(offset, here == 0 ? length : here, below));
    return here == 0 ? Status() : ZeroPartial(offset + here, length - here, below);
  }
  CHAINFS_TRY(ZeroPartial(offset, whole_begin - offset.value, below));
  CHAINFS_TRY(
      ZeroWholeClusters(GuestOffset(whole_begin), (whole_end - whole_begin) / cluster_size, wish));
  if (whole_end >= end) return {};
  return ZeroPartial(GuestOffset(whole_end), end - whole_end, below);
}

Status Qcow2Image::WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                               const BackingReader* below) {
  CHAINFS_TRY(CheckRange(offset, length));
  if (length == 0) return {};
  CHAINFS_TRY(PrepareToChange());
  if (tables_.geometry().version < 3 && HasBelow()) {
    return Finish(WriteZeroBytes(offset, length, below));
  }
  return Finish(ZeroRange(offset, length,
                          keep_allocated ? ZeroWish::kKeepAllocated : ZeroWish::kGiveBack, below));
}

Status Qcow2Image::Discard(GuestOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckRange(offset, length));
  CHAINFS_TRY(PrepareToChange());
  if (tables_.geometry().version < 3 && HasBelow()) return {};
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t end = offset.value + length;
  const uint64_t whole_begin = RoundUp(offset.value, cluster_size);
  const uint64_t whole_end =
      end >= virtual_size() ? RoundUp(end, cluster_size) : RoundDown(end, cluster_size);
  if (whole_begin >= whole_end) return {};
  return Finish(ZeroWholeClusters(GuestOffset(whole_begin),
                                  (whole_end - whole_begin) / cluster_size, ZeroWish::kGiveBack));
}

Status Qcow2Image::Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) {
  const uint64_t old_size = virtual_size();
  if (new_size % 512 != 0 || new_size < old_size) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: cannot be resized to {} bytes: smaller, or not a multiple of 512",
                            file_->path(), new_size));
  }
  if (new_size == old_size) return {};
  CHAINFS_TRY(PrepareToChange());
  CHAINFS_TRY(Finish(tables_.GrowL1For(new_size)));
  // The rest of the last cluster was never visible; it may hold anything, or the backing's bytes.
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t last_end = RoundUp(old_size, cluster_size);
  CHAINFS_TRY(Finish(ZeroPartial(GuestOffset(old_size), last_end - old_size,
                                 backing_size > old_size ? below : nullptr)));
  if (backing_size > last_end) {
    const uint64_t end =
        std::min(RoundUp(backing_size, cluster_size), RoundUp(new_size, cluster_size));
    if (end > last_end) {
      const uint64_t exposed = end - last_end;
      CHAINFS_TRY(Finish(tables_.geometry().version < 3
                             ? WriteZeroBytes(GuestOffset(last_end), exposed, below)
                             : ZeroWholeClusters(GuestOffset(last_end), exposed / cluster_size,
                                                 ZeroWish::kGiveBack)));
    }
  }
  CHAINFS_TRY(tables_.ledger().Commit());
  return Finish(tables_.header().SetVirtualSize(new_size));
}

}  // namespace chainfs::qcow2
