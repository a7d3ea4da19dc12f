// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/hot_source.h"

#include <algorithm>
#include <utility>

#include "blocklayer/base/types.h"

namespace chainfs::jobs {
namespace {

uint64_t EndOf(const ChunkRange& range) { return range.offset + range.length; }

}  // namespace

// Nothing that is done to take a chunk needs memory.
HotSource::HotSource(uint64_t length, uint64_t unit, std::shared_ptr<FirstReads> reads,
                     std::vector<ChunkRange> trace)
    : length_(length), unit_(unit), reads_(std::move(reads)), trace_(std::move(trace)) {
  windows_.reserve(kMostWindows);
  ahead_.reserve(kMostAhead);
}

std::optional<ChunkRange> HotSource::Take(uint64_t most) {
  if (left() == 0) return std::nullopt;
  std::optional<ChunkRange> chunk = TakeAhead(most);
  if (!chunk) {
    chunk = LeftOf({next_, length_ - next_}, most);
    Remember(*chunk);
  }
  taken_ += chunk->length;
  return chunk;
}

std::optional<ChunkRange> HotSource::TakeAhead(uint64_t most) {
  if (ahead_.size() == kMostAhead) return std::nullopt;
  for (; trace_next_ < trace_.size(); ++trace_next_) {
    if (auto chunk = TakeOf(trace_[trace_next_], most)) return chunk;
  }
  for (;;) {
    if (auto chunk = TakeOf(hot_, most)) return chunk;
    const std::optional<GuestOffset> read = reads_->Next();
    if (!read) break;
    hot_ = {read->value, FirstReads::kGranule};
    OpenWindow(EndOf(hot_));
  }
  for (; !windows_.empty(); windows_.pop_back()) {
    if (auto chunk = TakeOf(windows_.back(), most)) return chunk;
  }
  return std::nullopt;
}

std::optional<ChunkRange> HotSource::TakeOf(ChunkRange range, uint64_t most) {
  const std::optional<ChunkRange> chunk = LeftOf(range, most);
  if (!chunk) return std::nullopt;
  if (chunk->offset != next_) taken_early_ += chunk->length;
  Remember(*chunk);
  return chunk;
}

std::optional<ChunkRange> HotSource::LeftOf(ChunkRange range, uint64_t most) const {
  if (range.offset >= length_ || range.length == 0) return std::nullopt;
  uint64_t end = range.offset + std::min(range.length, length_ - range.offset);
  end = std::min(RoundUp(end, unit_), length_);
  uint64_t begin = std::max(RoundDown(range.offset, unit_), next_);
  const auto after = std::ranges::upper_bound(ahead_, begin, {}, &ChunkRange::offset);
  if (after != ahead_.begin()) begin = std::max(begin, EndOf(*std::prev(after)));
  if (after != ahead_.end()) end = std::min(end, after->offset);
  if (begin >= end) return std::nullopt;
  // Ends at multiples, as the chunks of a CursorSource do.
  return ChunkRange{begin, std::min(end, begin - begin % most + most) - begin};
}

void HotSource::Remember(ChunkRange chunk) {
  auto after = std::ranges::upper_bound(ahead_, chunk.offset, {}, &ChunkRange::offset);
  // It becomes part of what it touches: of what follows, of what comes before, of both.
  if (after != ahead_.end() && after->offset == EndOf(chunk)) {
    chunk.length += after->length;
    after = ahead_.erase(after);
  }
  if (chunk.offset == next_) {
    next_ = EndOf(chunk);
  } else if (after != ahead_.begin() && EndOf(*std::prev(after)) == chunk.offset) {
    std::prev(after)->length += chunk.length;
  } else {
    ahead_.insert(after, chunk);
  }
}

// A window that begins in the newest one takes its place: the reader has passed what lies between.
void HotSource::OpenWindow(uint64_t offset) {
  if (offset >= length_) return;
  const ChunkRange window{offset, kWindow};
  const bool goes_on =
      !windows_.empty() && offset >= windows_.back().offset && offset < EndOf(windows_.back());
  if (goes_on) {
    windows_.back() = window;
    return;
  }
  if (windows_.size() == kMostWindows) windows_.erase(windows_.begin());
  windows_.push_back(window);
}

}  // namespace chainfs::jobs
