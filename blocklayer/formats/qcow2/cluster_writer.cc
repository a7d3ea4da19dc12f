// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_writer.h"

#include <algorithm>
#include <bit>

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

// From an offset on, within its cluster.
uint64_t InPlaceBytes(const Geometry& geometry, const ClusterMapping& mapping, GuestOffset offset) {
  if (!mapping.copied) return 0;
  const uint64_t within = offset.Within(geometry.cluster_size());
  if (mapping.kind == ClusterKind::kNormal) return geometry.cluster_size() - within;
  if (mapping.kind != ClusterKind::kMixed) return 0;
  const uint32_t subcluster = geometry.SubclusterOf(offset);
  if (mapping.KindOf(subcluster) != ClusterKind::kNormal) return 0;
  const uint64_t end = subcluster + mapping.AlikeFrom(subcluster);
  return end * geometry.subcluster_size() - within;
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
    const uint64_t within = position.Within(geometry.cluster_size());
    const uint64_t in_place = InPlaceBytes(geometry, mapping, position);
    if (in_place == 0) break;
    const HostOffset host = mapping.host + within;
    if (run.length == 0) {
      run.host = host;
    } else if (host != run.host + run.length) {
      break;
    }
    CHAINFS_TRY(tables_.clusters().Check(position, geometry.ClusterOf(mapping.host), 1));
    run.length += std::min(length - run.length, in_place);
  }
  return run;
}

Status ClusterWriter::WriteAll(GuestOffset offset, uint64_t length, Contents& contents) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  for (uint64_t done = 0; done < length;) {
    const GuestOffset at = offset + done;
    {
      const IoEpoch::Guard guard = epoch_.Enter();
      CHAINFS_ASSIGN(const InPlaceRun run, FindInPlace(at, length - done));
      if (run.length > 0) {
        CHAINFS_TRY(contents.Overwrite(done, run.length, run.host));
        done += run.length;
        continue;
      }
    }
    const uint64_t share = std::min(length - done, kLockSpan);
    const GuestOffset begin = at.AlignDown(cluster_size);
    const uint64_t end = RoundUp(at.value + share, cluster_size);
    const RangeLock::Holder holder(range_lock_, begin, end - begin.value);
    for (const uint64_t stop = done + share; done < stop;) {
      CHAINFS_ASSIGN(const uint64_t written,
                     WriteLinking(offset + done, stop - done, done, contents));
      done += written;
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
  if (!fresh && before[0].kind == ClusterKind::kMixed) return before;
  while (before.size() < wanted) {
    const uint64_t next_bytes = before.size() << geometry.cluster_bits;
    CHAINFS_ASSIGN(const ClusterMapping next, tables_.l2().Lookup(first + next_bytes));
    if (NeedsNewCluster(next) != fresh || ClusterUnsharer::IsNeeded(next)) break;
    if (!fresh &&
        (next.kind != ClusterKind::kZeroAllocated || next.host != before[0].host + next_bytes)) {
      break;
    }
    before.push_back(next);
  }
  return before;
}

uint64_t ClusterWriter::FillUnit(const ClusterMapping& before) const {
  const bool data_moves =
      before.kind == ClusterKind::kCompressed || (before.has_cluster() && !before.copied);
  return data_moves ? tables_.geometry().cluster_size() : tables_.geometry().subcluster_size();
}

uint64_t ClusterWriter::LinkableBytes(const ClusterMapping& before, GuestOffset offset,
                                      uint64_t length) const {
  if (NeedsNewCluster(before) || before.kind != ClusterKind::kMixed) return length;
  const Geometry& geometry = tables_.geometry();
  const uint32_t subcluster = geometry.SubclusterOf(offset);
  const auto others = static_cast<uint32_t>(std::countr_zero(before.allocated >> subcluster));
  const uint64_t end = std::min(subcluster + others, kSubclusters) * geometry.subcluster_size();
  return std::min(length, end - offset.Within(geometry.cluster_size()));
}

uint64_t ClusterWriter::FilledEnd(uint64_t unit_end, uint64_t written_end) const {
  if (!tables_.geometry().external_data) return unit_end;
  return std::min(unit_end, std::max(written_end, tables_.header().virtual_size()));
}

std::vector<L2Entry> ClusterWriter::LinkingEntries(std::span<const ClusterMapping> before,
                                                   GuestOffset offset, uint64_t bytes,
                                                   const LinkedPart& part) const {
  const Geometry& geometry = tables_.geometry();
  std::vector<L2Entry> entries = NormalEntries(geometry, part.run);
  if (!geometry.extended_l2) return entries;
  // Those between are filled as a whole.
  const auto link = [&](uint64_t i, uint32_t first, uint32_t last) {
    ClusterMapping now = before[i];
    const uint32_t filled = SubclusterSet(first, last);
    now.host = geometry.HostOf(part.run.first + i);
    now.copied = true;
    now.allocated |= filled;
    now.zeroes &= ~filled;
    entries[i] = geometry.l2().WithSubclusters(now);
  };
  const uint32_t first = geometry.SubclusterOf(offset - part.head);
  const uint32_t last = geometry.SubclusterOf(offset + (bytes + part.tail - 1));
  const bool single = part.run.count == 1;
  link(0, first, single ? last : kSubclusters - 1);
  if (!single) link(part.run.count - 1, 0, last);
  return entries;
}

Result<uint64_t> ClusterWriter::WriteLinking(GuestOffset offset, uint64_t length, uint64_t skip,
                                             Contents& contents) {
  const Geometry& geometry = tables_.geometry();
  const IoEpoch::Guard guard = epoch_.Enter();
  // Somebody may have linked it while this thread waited for the lock.
  CHAINFS_ASSIGN(const InPlaceRun in_place, FindInPlace(offset, length));
  if (in_place.length > 0) {
    CHAINFS_TRY(contents.Overwrite(skip, in_place.length, in_place.host));
    return in_place.length;
  }

  const GuestOffset first = offset.AlignDown(geometry.cluster_size());
  const uint64_t wanted =
      DivRoundUp(offset.Within(geometry.cluster_size()) + length, geometry.cluster_size());
  CHAINFS_ASSIGN(const std::vector<ClusterMapping> before, FindAlike(first, wanted));
  if (ClusterUnsharer::IsNeeded(before[0])) {
    CHAINFS_TRY(unsharer_.Unshare(first, before[0]));
    return WriteLinking(offset, length, skip, contents);
  }
  const bool fresh = NeedsNewCluster(before[0]);
  ClusterRun run{
      .first = geometry.ClusterOf(before[0].host), .count = before.size(), .beyond_file = false};
  if (fresh) {
    CHAINFS_ASSIGN(run, tables_.clusters().Allocate(first, before.size()));
  } else {
    CHAINFS_TRY(tables_.clusters().Check(first, run.first, run.count));
  }
  const uint64_t bytes =
      LinkableBytes(before[0], offset,
                    std::min<uint64_t>(length, (run.count << geometry.cluster_bits) -
                                                   offset.Within(geometry.cluster_size())));
  const ClusterMapping& last_before = before[run.count - 1];
  const uint64_t end = offset.value + bytes;
  const LinkedPart part{.run = run,
                        .head = offset.Within(FillUnit(before[0])),
                        .tail = FilledEnd(RoundUp(end, FillUnit(last_before)), end) - end,
                        .first_before = before[0],
                        .last_before = last_before};
  Status status = contents.Fill(skip, bytes, offset, part);
  if (status) {
    status = tables_.l2().SetEntries(first, LinkingEntries(before, offset, bytes, part));
  }
  if (!status) {
    if (fresh) tables_.clusters().ReleaseUnlinked(run);
    return std::unexpected(std::move(status).error());
  }
  return bytes;
}

class ClusterWriter::GuestContents final : public Contents {
 public:
  GuestContents(ClusterWriter& writer, std::span<const std::byte> data, const BackingReader* below)
      : writer_(writer), data_(data), below_(below) {}
  Status Overwrite(uint64_t skip, uint64_t bytes, HostOffset host) override {
    return writer_.file_.WriteAt(host, data_.subspan(skip, bytes));
  }
  Status Fill(uint64_t skip, uint64_t bytes, GuestOffset offset, const LinkedPart& part) override;

 private:
  ClusterWriter& writer_;
  const std::span<const std::byte> data_;
  const BackingReader* const below_;
};

Status ClusterWriter::GuestContents::Fill(uint64_t skip, uint64_t bytes, GuestOffset offset,
                                          const LinkedPart& part) {
  File& file = writer_.file_;
  const std::span<const std::byte> data = data_.subspan(skip, bytes);
  const Geometry& geometry = writer_.tables_.geometry();
  const auto [run, head, tail, first_before, last_before] = part;
  // Where what is filled begins, and within it what is written.
  const HostOffset begin =
      geometry.HostOf(run.first) + (offset.Within(geometry.cluster_size()) - head);
  const HostOffset host = begin + head;
  if (head == 0 && tail == 0) return file.WriteAt(host, data);

  thread_local std::vector<std::byte> buffer;
  // Within one cluster all is put together and written at once; of several, only head and tail are
  // copied.
  const bool single = run.count == 1;
  buffer.resize(single ? head + bytes + tail : head + tail);
  const std::span<std::byte> head_bytes = std::span(buffer).first(head);
  const std::span<std::byte> tail_bytes = std::span(buffer).last(tail);
  const ClusterReader& reader = writer_.reader_;
  if (head > 0) {
    CHAINFS_TRY(reader.ReadBefore(first_before, offset - head, head_bytes, below_));
  }
  if (tail > 0) {
    CHAINFS_TRY(reader.ReadBefore(last_before, offset + bytes, tail_bytes, below_));
  }
  // Where the file was never written it reads as zeros already.
  const bool write_head = head > 0 && !(run.beyond_file && AllZero(head_bytes));
  const bool write_tail = tail > 0 && !(run.beyond_file && AllZero(tail_bytes));
  if (single && (write_head || write_tail)) {
    std::ranges::copy(data, std::span(buffer).subspan(head).begin());
    return file.WriteAt(begin, buffer);
  }
  if (write_head) CHAINFS_TRY(file.WriteAt(begin, head_bytes));
  CHAINFS_TRY(file.WriteAt(host, data));
  if (write_tail) CHAINFS_TRY(file.WriteAt(host + bytes, tail_bytes));
  return {};
}

class ClusterWriter::FileContents final : public Contents {
 public:
  FileContents(ClusterWriter& writer, File& source, HostOffset offset)
      : writer_(writer), source_(source), offset_(offset) {}
  Status Overwrite(uint64_t skip, uint64_t bytes, HostOffset host) override {
    return writer_.file_.CopyRangeFrom(source_, offset_ + skip, host, bytes);
  }
  // Nothing is to be filled before it, and only the end of the disk leaves something behind it.
  Status Fill(uint64_t skip, uint64_t bytes, GuestOffset offset, const LinkedPart& part) override {
    const Geometry& geometry = writer_.tables_.geometry();
    const HostOffset host =
        geometry.HostOf(part.run.first) + offset.Within(geometry.cluster_size());
    CHAINFS_TRY(Overwrite(skip, bytes, host));
    if (part.tail == 0 || part.run.beyond_file) return {};
    return writer_.file_.ZeroRange(host + bytes, part.tail);
  }

 private:
  ClusterWriter& writer_;
  File& source_;
  const HostOffset offset_;
};

Status ClusterWriter::Write(GuestOffset offset, std::span<const std::byte> data,
                            const BackingReader* below) {
  GuestContents contents(*this, data, below);
  return WriteAll(offset, data.size(), contents);
}

Status ClusterWriter::WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                                    HostOffset source_offset) {
  FileContents contents(*this, source, source_offset);
  return WriteAll(offset, length, contents);
}

}  // namespace chainfs::qcow2
