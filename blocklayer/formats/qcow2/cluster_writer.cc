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
  const bool fresh = NeedsNewCluster(before[0]);
  ClusterRun run{
      .first = geometry.ClusterOf(before[0].host), .count = before.size(), .beyond_file = false};
  if (fresh) {
    CHAINFS_ASSIGN(run, tables_.clusters().Allocate(before.size()));
  } else {
    CHAINFS_TRY(tables_.clusters().Check(first, run.first, run.count));
  }
  const uint64_t bytes = std::min<uint64_t>(
      length, (run.count << geometry.cluster_bits) - offset.Within(geometry.cluster_size()));
  Status status =
      contents.Fill(skip, bytes, offset,
                    {.run = run, .first_before = before[0], .last_before = before[run.count - 1]});
  if (status) {
    status = tables_.l2().SetEntries(first, NormalEntries(geometry, run));
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
  const uint64_t cluster_size = writer_.tables_.geometry().cluster_size();
  const HostOffset host = writer_.tables_.geometry().HostOf(part.run.first);
  const uint64_t head = offset.Within(cluster_size);
  const uint64_t total = part.run.count * cluster_size;
  const uint64_t tail = total - head - bytes;
  if (head == 0 && tail == 0) return file.WriteAt(host, data);

  thread_local std::vector<std::byte> buffer;
  // One cluster is put together and written at once; of several, only head and tail are copied.
  const bool single = part.run.count == 1;
  buffer.resize(single ? cluster_size : head + tail);
  const std::span<std::byte> head_bytes = std::span(buffer).first(head);
  const std::span<std::byte> tail_bytes = std::span(buffer).last(tail);
  const ClusterReader& reader = writer_.reader_;
  if (head > 0) {
    CHAINFS_TRY(reader.ReadBefore(part.first_before, offset - head, head_bytes, below_));
  }
  if (tail > 0)
    CHAINFS_TRY(reader.ReadBefore(part.last_before, offset + bytes, tail_bytes, below_));
  // Where the file was never written it reads as zeros already.
  const bool write_head = head > 0 && !(part.run.beyond_file && AllZero(head_bytes));
  const bool write_tail = tail > 0 && !(part.run.beyond_file && AllZero(tail_bytes));
  if (single && (write_head || write_tail)) {
    std::ranges::copy(data, std::span(buffer).subspan(head).begin());
    return file.WriteAt(host, buffer);
  }
  if (write_head) CHAINFS_TRY(file.WriteAt(host, head_bytes));
  CHAINFS_TRY(file.WriteAt(host + head, data));
  if (write_tail) CHAINFS_TRY(file.WriteAt(host + (head + bytes), tail_bytes));
  return {};
}

class ClusterWriter::FileContents final : public Contents {
 public:
  FileContents(ClusterWriter& writer, File& source, HostOffset offset)
      : writer_(writer), source_(source), offset_(offset) {}
  Status Overwrite(uint64_t skip, uint64_t bytes, HostOffset host) override {
    return writer_.file_.CopyRangeFrom(source_, offset_ + skip, host, bytes);
  }
  Status Fill(uint64_t skip, uint64_t bytes, GuestOffset /*offset*/,
              const LinkedPart& part) override {
    const Geometry& geometry = writer_.tables_.geometry();
    const HostOffset host = geometry.HostOf(part.run.first);
    CHAINFS_TRY(Overwrite(skip, bytes, host));
    // Only the end of the disk leaves the rest of a cluster.
    const uint64_t padding = (part.run.count << geometry.cluster_bits) - bytes;
    if (padding == 0 || part.run.beyond_file) return {};
    return writer_.file_.ZeroRange(host + bytes, padding);
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
