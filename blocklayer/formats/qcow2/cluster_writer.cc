// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_writer.h"

#include <algorithm>

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

}  // namespace

std::vector<L2Entry> NormalEntries(const Geometry& geometry, const ClusterRun& run) {
  std::vector<L2Entry> entries;
  entries.reserve(run.count);
  for (uint64_t i = 0; i < run.count; ++i) {
    entries.push_back(geometry.l2().Normal(geometry.HostOf(run.first + i)));
  }
  return entries;
}

Result<ClusterWriter::InPlaceRun> ClusterWriter::FindInPlace(GuestOffset offset, uint64_t length) {
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

Status ClusterWriter::Write(GuestOffset offset, std::span<const std::byte> data,
                            const BackingReader* below) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  while (!data.empty()) {
    {
      const IoEpoch::Guard guard = epoch_.Enter();
      CHAINFS_ASSIGN(const InPlaceRun run, FindInPlace(offset, data.size()));
      if (run.length > 0) {
        CHAINFS_TRY(file_.WriteAt(run.host, data.first(run.length)));
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

Result<std::vector<ClusterMapping>> ClusterWriter::FindAlike(GuestOffset first, uint64_t wanted) {
  const Geometry& geometry = tables_.geometry();
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
  return before;
}

Result<uint64_t> ClusterWriter::WriteLinking(GuestOffset offset, std::span<const std::byte> data,
                                             const BackingReader* below) {
  const Geometry& geometry = tables_.geometry();
  const IoEpoch::Guard guard = epoch_.Enter();
  // Somebody may have linked it while this thread waited for the lock.
  CHAINFS_ASSIGN(const InPlaceRun in_place, FindInPlace(offset, data.size()));
  if (in_place.length > 0) {
    CHAINFS_TRY(file_.WriteAt(in_place.host, data.first(in_place.length)));
    return in_place.length;
  }

  const GuestOffset first = offset.AlignDown(geometry.cluster_size());
  const uint64_t wanted =
      DivRoundUp(offset.Within(geometry.cluster_size()) + data.size(), geometry.cluster_size());
  CHAINFS_ASSIGN(const std::vector<ClusterMapping> before, FindAlike(first, wanted));
  const bool fresh = NeedsNewCluster(before[0]);
  ClusterRun run{
      .first = geometry.ClusterOf(before[0].host), .count = before.size(), .beyond_file = false};
  if (fresh) {
    CHAINFS_ASSIGN(run, tables_.clusters().Allocate(before.size()));
  } else {
    CHAINFS_TRY(tables_.clusters().Check(first, run.first, run.count));
  }
  const uint64_t bytes = std::min<uint64_t>(
      data.size(), (run.count << geometry.cluster_bits) - offset.Within(geometry.cluster_size()));
  Status status = Fill(offset, data.first(bytes), run, before[0], before[run.count - 1], below);
  if (status) {
    status = tables_.l2().SetEntries(first, NormalEntries(geometry, run));
  }
  if (!status) {
    if (fresh) tables_.clusters().ReleaseUnlinked(run);
    return std::unexpected(std::move(status).error());
  }
  return bytes;
}

Status ClusterWriter::Fill(GuestOffset offset, std::span<const std::byte> data,
                           const ClusterRun& run, const ClusterMapping& first_before,
                           const ClusterMapping& last_before, const BackingReader* below) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const HostOffset host = tables_.geometry().HostOf(run.first);
  const uint64_t head = offset.Within(cluster_size);
  const uint64_t total = run.count * cluster_size;
  const uint64_t tail = total - head - data.size();
  if (head == 0 && tail == 0) return file_.WriteAt(host, data);

  thread_local std::vector<std::byte> buffer;
  // One cluster is put together and written at once; of several, only head and tail are copied.
  const bool single = run.count == 1;
  buffer.resize(single ? cluster_size : head + tail);
  const std::span<std::byte> head_bytes = std::span(buffer).first(head);
  const std::span<std::byte> tail_bytes = std::span(buffer).last(tail);
  if (head > 0) CHAINFS_TRY(reader_.ReadBefore(first_before, offset - head, head_bytes, below));
  if (tail > 0) {
    CHAINFS_TRY(reader_.ReadBefore(last_before, offset + data.size(), tail_bytes, below));
  }
  // Where the file was never written it reads as zeros already.
  const bool write_head = head > 0 && !(run.beyond_file && AllZero(head_bytes));
  const bool write_tail = tail > 0 && !(run.beyond_file && AllZero(tail_bytes));
  if (single && (write_head || write_tail)) {
    std::ranges::copy(data, std::span(buffer).subspan(head).begin());
    return file_.WriteAt(host, buffer);
  }
  if (write_head) CHAINFS_TRY(file_.WriteAt(host, head_bytes));
  CHAINFS_TRY(file_.WriteAt(host + head, data));
  if (write_tail) CHAINFS_TRY(file_.WriteAt(host + (head + data.size()), tail_bytes));
  return {};
}

}  // namespace chainfs::qcow2
