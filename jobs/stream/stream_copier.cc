// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace chainfs::jobs {
namespace {

// Below this a copy within the kernel costs more than it saves.
constexpr uint64_t kSmallestShare = 4096;
// At most so much is held in memory by one thread.
constexpr uint64_t kBufferBytes = 2 << 20;

std::unexpected<ChunkFailure> ReadFailed(Error error) {
  return std::unexpected(ChunkFailure{std::move(error), false});
}
std::unexpected<ChunkFailure> WriteFailed(Error error) {
  return std::unexpected(ChunkFailure{std::move(error), true});
}

bool IsZero(std::span<const std::byte> data) {
  if (data.empty()) return true;
  return data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

std::span<std::byte> ThreadBuffer() {
  thread_local std::vector<std::byte> buffer(kBufferBytes);
  return buffer;
}

std::optional<uint64_t> BaseSize(const LayerStack& below, uint32_t between) {
  if (between >= below.layers().size()) return std::nullopt;
  return below.layers()[between]->image->virtual_size();
}

}  // namespace

StreamCopier::StreamCopier(WritableImage& top, std::shared_ptr<const LayerStack> below,
                           uint32_t between)
    : top_(top),
      below_(std::move(below)),
      between_(between),
      base_size_(BaseSize(*below_, between)),
      cluster_size_(top.cluster_size()),
      cannot_share_(std::make_unique<std::atomic<bool>[]>(below_->layers().size())) {}

Result<std::vector<StreamCopier::Segment>> StreamCopier::SegmentsOf(uint64_t begin,
                                                                    uint64_t end) const {
  std::vector<Segment> segments;
  while (begin < end) {
    CHAINFS_ASSIGN(const StackExtent extent,
                   below_->Map(GuestOffset(begin), end - begin, MapDetail::kPrecise));
    const uint64_t stop = begin + std::min(extent.length, end - begin);
    segments.push_back({begin, stop, extent});
    begin = stop;
  }
  return segments;
}

// What to do with the one cluster [begin, end); `first` is the segment that holds its first byte.
StreamCopier::Piece StreamCopier::ClusterPiece(const Segment* first, uint64_t begin,
                                               uint64_t end) const {
  bool data_between = false;
  bool zero_between = false;
  bool data_anywhere = false;
  const Segment* segment = first;
  for (uint64_t at = begin; at < end; at = segment++->end) {
    const StackExtent& extent = segment->extent;
    const bool data = extent.kind == ExtentKind::kData || extent.kind == ExtentKind::kCompressed;
    data_anywhere |= data;
    if (extent.kind == ExtentKind::kUnallocated || extent.layer >= between_) continue;
    data_between |= data;
    // Zeros matter only where the base would shine through.
    zero_between |= !data && base_size_ && at < *base_size_;
  }
  if (!data_between && !zero_between) return {begin, end};
  if (!data_anywhere) return {begin, end, Action::kZero};
  if (first->extent.kind == ExtentKind::kData && first->end >= end) {
    return {begin,
            end,
            Action::kShare,
            first->extent.layer,
            first->extent.host + (begin - first->begin),
            first->extent.source};
  }
  return {begin, end, Action::kCopy};
}

bool StreamCopier::Extends(const Piece& piece, const Piece& next) {
  if (piece.action != next.action || piece.end != next.begin) return false;
  return piece.action != Action::kShare ||
         (piece.layer == next.layer && piece.source == next.source &&
          next.host == piece.host + (piece.end - piece.begin));
}

bool StreamCopier::MayShare(const Piece& piece) const {
  return piece.action == Action::kShare && piece.end - piece.begin >= kSmallestShare &&
         !cannot_share_[piece.layer].load(std::memory_order_relaxed);
}

// `begin` is cluster-aligned, and `end` is, or is the end of top.
Result<std::vector<StreamCopier::Piece>> StreamCopier::PiecesOf(uint64_t begin,
                                                                uint64_t end) const {
  CHAINFS_ASSIGN(const std::vector<Segment> segments, SegmentsOf(begin, end));
  std::vector<Piece> pieces;
  const Segment* segment = segments.data();
  for (uint64_t at = begin; at < end;) {
    const uint64_t stop = std::min(at + cluster_size_, end);
    while (segment->end <= at) ++segment;
    const Piece piece = ClusterPiece(segment, at, stop);
    if (!pieces.empty() && Extends(pieces.back(), piece)) {
      pieces.back().end = stop;
    } else {
      pieces.push_back(piece);
    }
    at = stop;
  }
  // What is not worth sharing is copied, together with its neighbours.
  std::vector<Piece> merged;
  for (Piece& piece : pieces) {
    if (piece.action == Action::kShare && !MayShare(piece)) piece.action = Action::kCopy;
    if (!merged.empty() && Extends(merged.back(), piece)) {
      merged.back().end = piece.end;
    } else {
      merged.push_back(piece);
    }
  }
  return merged;
}

template <typename Act>
ChunkResult StreamCopier::ForEachPiece(uint64_t begin, uint64_t end, Act act) {
  const IoEpoch::Guard guard = below_->EnterReading();  // the pieces name places below
  uint64_t copied = 0;
  for (uint64_t at = begin; at < end;) {
    const Result<Extent> extent = top_.Map(GuestOffset(at), end - at, MapDetail::kFast);
    if (!extent) return ReadFailed(extent.error());
    const uint64_t stop = at + std::min(extent->length, end - at);
    const uint64_t from = RoundDown(at, cluster_size_);
    at = stop;
    if (extent->kind != ExtentKind::kUnallocated) continue;
    at = std::min(RoundUp(stop, cluster_size_), end);
    const Result<std::vector<Piece>> pieces = PiecesOf(from, at);
    if (!pieces) return ReadFailed(pieces.error());
    for (const Piece& piece : *pieces) {
      if (piece.action == Action::kSkip) continue;
      const ChunkResult done = act(piece);
      if (!done) return done;
      copied += *done;
    }
  }
  return copied;
}

ChunkResult StreamCopier::Process(uint64_t offset, uint64_t length) {
  return ForEachPiece(offset, offset + length,
                      [this](const Piece& piece) { return Perform(piece); });
}

ChunkResult StreamCopier::Estimate(uint64_t offset, uint64_t length) {
  return ForEachPiece(offset, offset + length, [](const Piece& piece) -> ChunkResult {
    return piece.action == Action::kZero ? 0 : piece.end - piece.begin;
  });
}

ChunkResult StreamCopier::Perform(const Piece& piece) {
  if (piece.action == Action::kZero) {
    Status status = top_.PopulateZeroes(GuestOffset(piece.begin), piece.end - piece.begin);
    if (!status) return WriteFailed(std::move(status).error());
    return 0;
  }
  return piece.action == Action::kShare ? Share(piece) : Copy(piece.begin, piece.end);
}

ChunkResult StreamCopier::Share(const Piece& piece) {
  const uint64_t length = piece.end - piece.begin;
  File* const file = below_->layers()[piece.layer]->image->source(piece.source).host_file();
  Status status = file != nullptr
                      ? top_.PopulateFromFile(GuestOffset(piece.begin), length, *file, piece.host)
                      : Fail(ErrorKind::kUnsupported, "only files of the host can share");
  if (status) return length;
  if (status.error().kind != ErrorKind::kUnsupported) {
    return WriteFailed(std::move(status).error());
  }
  cannot_share_[piece.layer].store(true, std::memory_order_relaxed);
  return Copy(piece.begin, piece.end);
}

ChunkResult StreamCopier::Copy(uint64_t begin, uint64_t end) {
  const std::span<std::byte> buffer = ThreadBuffer();
  uint64_t copied = 0;
  while (begin < end) {
    const std::span<std::byte> data = buffer.first(std::min<uint64_t>(buffer.size(), end - begin));
    Status status = below_->ReadBelow(GuestOffset(begin), data);
    if (!status) return ReadFailed(std::move(status).error());
    status = CopyLoaded(begin, data, copied);
    if (!status) return WriteFailed(std::move(status).error());
    begin += data.size();
  }
  return copied;
}

// Runs of clusters that turn out to be zeros become zero clusters, the others data.
Status StreamCopier::CopyLoaded(uint64_t begin, std::span<const std::byte> data, uint64_t& copied) {
  const auto cluster_at = [&](size_t at) {
    return data.subspan(at, std::min<size_t>(cluster_size_, data.size() - at));
  };
  for (size_t at = 0; at < data.size();) {
    const bool zero = IsZero(cluster_at(at));
    size_t stop = at;
    while (stop < data.size() && IsZero(cluster_at(stop)) == zero) {
      stop += cluster_at(stop).size();
    }
    const GuestOffset where(begin + at);
    if (!zero) {
      CHAINFS_TRY(top_.Populate(where, data.subspan(at, stop - at)));
      copied += stop - at;
    } else if (base_size_ && where.value < *base_size_) {
      CHAINFS_TRY(top_.PopulateZeroes(where, stop - at));
    }
    at = stop;
  }
  return {};
}

}  // namespace chainfs::jobs
