// SPDX-License-Identifier: Apache-2.0
//
// Guest writes and the copies of jobs. See qcow2_image_impl.h for the three ways a cluster is
// written.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/qcow2_image_impl.h"

namespace chainfs::qcow2 {
namespace {

// Guest bytes that one hold of the range lock covers at most, so that a large write does not keep
// others out for long.
constexpr uint64_t kLockSpan = 4ull << 20;

bool AllZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

bool NeedsNewCluster(const ClusterMapping& mapping) {
  return mapping.kind == ClusterKind::kUnallocated || mapping.kind == ClusterKind::kZeroPlain ||
         mapping.kind == ClusterKind::kCompressed || !mapping.copied;
}

std::vector<L2Entry> NormalEntries(const Geometry& geometry, const ClusterRun& run) {
  std::vector<L2Entry> entries;
  entries.reserve(run.count);
  for (uint64_t i = 0; i < run.count; ++i) {
    entries.push_back(geometry.l2().Normal(geometry.HostOf(run.first + i)));
  }
  return entries;
}

}  // namespace

Status Qcow2Image::PrepareToChange() {
  Status prepared;
  if (writable()) prepared = tables_.inventory().PrepareForWriting();
  // Tables that lie on one another are found then, at the latest.
  if (!writable()) {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{}: cannot be written: {}", file_->path(), read_only_reason()));
  }
  return prepared;
}

Status Qcow2Image::Finish(Status status) {
  if (!status && status.error().kind == ErrorKind::kCorrupt) {
    tables_.MarkCorrupt(status.error().message);
  }
  return status;
}

Status Qcow2Image::CommitIfMuchIsDirty() {
  return tables_.ledger().WantsCommit() ? tables_.ledger().Commit() : Status();
}

Result<Qcow2Image::InPlaceRun> Qcow2Image::FindInPlace(GuestOffset offset, uint64_t length) {
  const Geometry& geometry = tables_.geometry();
  InPlaceRun run;
  while (run.length < length) {
    const GuestOffset position = offset + run.length;
    CHAINFS_ASSIGN(const ClusterMapping mapping, tables_.l2().Lookup(position));
    if (mapping.kind != ClusterKind::kNormal || !mapping.copied) break;
    const HostOffset host = mapping.host + position.Within(geometry.cluster_size());
    if (run.length == 0) {
      run.host = host;
    } else if (host != run.host + run.length) {
      break;
    }
    CHAINFS_TRY(tables_.clusters().Check(position, geometry.ClusterOf(mapping.host), 1));
    run.length += std::min(length - run.length,
                           geometry.cluster_size() - position.Within(geometry.cluster_size()));
  }
  return run;
}

Status Qcow2Image::Write(GuestOffset offset, std::span<const std::byte> data,
                         const BackingReader* below) {
  CHAINFS_TRY(CheckRange(offset, data.size()));
  CHAINFS_TRY(PrepareToChange());
  CHAINFS_TRY(Finish(WriteRange(offset, data, below)));
  return CommitIfMuchIsDirty();
}

Status Qcow2Image::WriteRange(GuestOffset offset, std::span<const std::byte> data,
                              const BackingReader* below) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  while (!data.empty()) {
    {
      const IoEpoch::Guard guard = io_epoch_.Enter();
      CHAINFS_ASSIGN(const InPlaceRun run, FindInPlace(offset, data.size()));
      if (run.length > 0) {
        CHAINFS_TRY(file_->WriteAt(run.host, data.first(run.length)));
        offset += run.length;
        data = data.subspan(run.length);
        continue;
      }
    }
    const uint64_t share = std::min<uint64_t>(data.size(), kLockSpan);
    const GuestOffset begin = offset.AlignDown(cluster_size);
    const uint64_t end = RoundUp(offset.value + share, cluster_size);
    const RangeLock::Holder holder(range_lock_, begin, end - begin.value);
    const uint64_t stop = offset.value + share;
    while (offset.value < stop) {
      CHAINFS_ASSIGN(const uint64_t done,
                     WriteLinking(offset, data.first(stop - offset.value), below));
      offset += done;
      data = data.subspan(done);
    }
  }
  return {};
}

Result<uint64_t> Qcow2Image::WriteLinking(GuestOffset offset, std::span<const std::byte> data,
                                          const BackingReader* below) {
  const Geometry& geometry = tables_.geometry();
  const IoEpoch::Guard guard = io_epoch_.Enter();
  // Somebody may have linked it while this thread waited for the lock.
  CHAINFS_ASSIGN(const InPlaceRun in_place, FindInPlace(offset, data.size()));
  if (in_place.length > 0) {
    CHAINFS_TRY(file_->WriteAt(in_place.host, data.first(in_place.length)));
    return in_place.length;
  }

  const GuestOffset first = offset.AlignDown(geometry.cluster_size());
  const uint64_t wanted =
      DivRoundUp(offset.Within(geometry.cluster_size()) + data.size(), geometry.cluster_size());
  std::vector<ClusterMapping> before;
  before.reserve(wanted);
  CHAINFS_ASSIGN(before.emplace_back(), tables_.l2().Lookup(first));
  const bool fresh = NeedsNewCluster(before[0]);
  while (before.size() < wanted) {
    const uint64_t next_bytes = before.size() << geometry.cluster_bits;
    CHAINFS_ASSIGN(const ClusterMapping next, tables_.l2().Lookup(first + next_bytes));
    if (NeedsNewCluster(next) != fresh) break;
    if (!fresh &&
        (next.kind != ClusterKind::kZeroAllocated || next.host != before[0].host + next_bytes)) {
      break;
    }
    before.push_back(next);
  }

  ClusterRun run{.first = geometry.ClusterOf(before[0].host), .count = before.size()};
  if (fresh) {
    CHAINFS_ASSIGN(run, tables_.clusters().Allocate(before.size()));
  } else {
    CHAINFS_TRY(tables_.clusters().Check(first, run.first, run.count));
  }
  const uint64_t bytes = std::min<uint64_t>(
      data.size(), (run.count << geometry.cluster_bits) - offset.Within(geometry.cluster_size()));
  Status status = FillClusters(offset, data.first(bytes), geometry.HostOf(run.first), run.count,
                               run.beyond_file, before[0], before[run.count - 1], below);
  if (status) {
    status = tables_.l2().SetEntries(first, NormalEntries(geometry, run));
  }
  if (!status) {
    if (fresh) tables_.clusters().ReleaseUnlinked(run);
    return std::unexpected(std::move(status).error());
  }
  return bytes;
}

Status Qcow2Image::FillClusters(GuestOffset offset, std::span<const std::byte> data,
                                HostOffset host, uint64_t clusters, bool beyond_file,
                                const ClusterMapping& first_before,
                                const ClusterMapping& last_before, const BackingReader* below) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t head = offset.Within(cluster_size);
  const uint64_t total = clusters * cluster_size;
  const uint64_t tail = total - head - data.size();
  if (head == 0 && tail == 0) return file_->WriteAt(host, data);

  thread_local std::vector<std::byte> buffer;
  // One cluster is put together and written at once; of several, only head and tail are copied.
  const bool single = clusters == 1;
  buffer.resize(single ? cluster_size : head + tail);
  const std::span<std::byte> head_bytes = std::span(buffer).first(head);
  const std::span<std::byte> tail_bytes = std::span(buffer).last(tail);
  if (head > 0) CHAINFS_TRY(ReadBefore(first_before, offset - head, head_bytes, below));
  if (tail > 0) {
    CHAINFS_TRY(ReadBefore(last_before, offset + data.size(), tail_bytes, below));
  }
  // Where the file was never written it reads as zeros already.
  const bool write_head = head > 0 && !(beyond_file && AllZero(head_bytes));
  const bool write_tail = tail > 0 && !(beyond_file && AllZero(tail_bytes));
  if (single && (write_head || write_tail)) {
    std::ranges::copy(data, std::span(buffer).subspan(head).begin());
    return file_->WriteAt(host, buffer);
  }
  if (write_head) CHAINFS_TRY(file_->WriteAt(host, head_bytes));
  CHAINFS_TRY(file_->WriteAt(host + head, data));
  if (write_tail) CHAINFS_TRY(file_->WriteAt(host + (head + data.size()), tail_bytes));
  return {};
}

template <typename PopulateRun>
Status Qcow2Image::ForUnallocated(GuestOffset offset, uint64_t length,
                                  const PopulateRun& populate) {
  const Geometry& geometry = tables_.geometry();
  CHAINFS_TRY(CheckRange(offset, length));
  if (offset.Within(geometry.cluster_size()) != 0 ||
      ((offset.value + length) % geometry.cluster_size() != 0 &&
       offset.value + length != virtual_size())) {
    return Fail(ErrorKind::kInvalidArgument, "only whole clusters can be populated");
  }
  CHAINFS_TRY(PrepareToChange());
  const uint64_t clusters = DivRoundUp(length, geometry.cluster_size());
  const RangeLock::Holder holder(range_lock_, offset, clusters << geometry.cluster_bits);
  const IoEpoch::Guard guard = io_epoch_.Enter();
  for (uint64_t i = 0; i < clusters;) {
    uint64_t j = i;
    for (; j < clusters; ++j) {
      CHAINFS_ASSIGN(const ClusterMapping mapping,
                     tables_.l2().Lookup(offset + (j << geometry.cluster_bits)));
      if (mapping.kind != ClusterKind::kUnallocated) break;
    }
    while (i < j) {
      CHAINFS_ASSIGN(const uint64_t done, populate(i, j - i));
      i += done;
    }
    if (i < clusters) ++i;  // allocated already
  }
  return {};
}

Status Qcow2Image::PopulateRuns(GuestOffset offset, uint64_t length, const FillRun& fill) {
  const Geometry& geometry = tables_.geometry();
  CHAINFS_TRY(Finish(
      ForUnallocated(offset, length, [&](uint64_t index, uint64_t clusters) -> Result<uint64_t> {
        CHAINFS_ASSIGN(const ClusterRun run, tables_.clusters().Allocate(clusters));
        const uint64_t skip = index << geometry.cluster_bits;
        const uint64_t bytes = std::min(run.count << geometry.cluster_bits, length - skip);
        Status status = fill(skip, bytes, geometry.HostOf(run.first));
        const uint64_t padding = (run.count << geometry.cluster_bits) - bytes;
        if (status && padding > 0 && !run.beyond_file) {
          status = file_->ZeroRange(geometry.HostOf(run.first) + bytes, padding);
        }
        if (status) {
          status = tables_.l2().SetEntries(offset + skip, NormalEntries(geometry, run));
        }
        if (!status) {
          tables_.clusters().ReleaseUnlinked(run);
          return std::unexpected(std::move(status).error());
        }
        return run.count;
      })));
  return CommitIfMuchIsDirty();
}

Status Qcow2Image::Populate(GuestOffset offset, std::span<const std::byte> data) {
  return PopulateRuns(offset, data.size(), [&](uint64_t skip, uint64_t bytes, HostOffset host) {
    return file_->WriteAt(host, data.subspan(skip, bytes));
  });
}

Status Qcow2Image::PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                                    HostOffset source_offset) {
  return PopulateRuns(offset, length, [&](uint64_t skip, uint64_t bytes, HostOffset host) {
    return file_->CopyRangeFrom(source, source_offset + skip, host, bytes);
  });
}

Status Qcow2Image::PopulateZeroes(GuestOffset offset, uint64_t length) {
  if (tables_.geometry().version < 3) {
    // Version 2 cannot say "zero" over a backing file: real zeros.
    const std::vector<std::byte> zeros(std::min<uint64_t>(length, kLockSpan));
    for (uint64_t done = 0; done < length; done += zeros.size()) {
      const uint64_t piece = std::min<uint64_t>(zeros.size(), length - done);
      CHAINFS_TRY(Populate(offset + done, std::span(zeros).first(piece)));
    }
    return {};
  }
  CHAINFS_TRY(Finish(
      ForUnallocated(offset, length, [&](uint64_t index, uint64_t clusters) -> Result<uint64_t> {
        const std::vector<L2Entry> entries(std::min<uint64_t>(clusters, 4096),
                                           tables_.geometry().l2().Zero());
        CHAINFS_TRY(
            tables_.l2().SetEntries(offset + (index << tables_.geometry().cluster_bits), entries));
        return entries.size();
      })));
  return CommitIfMuchIsDirty();
}

}  // namespace chainfs::qcow2
