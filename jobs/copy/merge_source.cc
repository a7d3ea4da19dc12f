// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/merge_source.h"

#include <algorithm>
#include <thread>

namespace chainfs::jobs {
namespace {

// For the last round, besides what the flush and the record take: guests are to notice no pause.
constexpr uint64_t kMillisecondsOfRest = 20;
constexpr uint64_t kLeastRest = 1 << 20;
constexpr uint64_t kMostRest = 64 << 20;
// How long one write waits at most, and how soon it looks again.
constexpr std::chrono::milliseconds kLongestWait{50};
constexpr std::chrono::milliseconds kLook{1};
// Copying that has stopped for so long stands still.
constexpr std::chrono::milliseconds kStandstill{20};

}  // namespace

MergeSource::MergeSource(uint64_t size, uint64_t granularity)
    : size_(size), dirty_(size, granularity) {}

// A little of news is none.
void MergeSource::Mark(uint64_t offset, uint64_t length) {
  dirty_.Mark(offset, length);
  if (!Close() && idle_.exchange(false) && news_) news_();
}

MergeSource::Copying::Copying(MergeSource& source, uint64_t bytes)
    : source_(source), bytes_(bytes), began_(Clock::now()) {
  source_.copying_.fetch_add(1);
}

// An average in which older chunks count less and less.
MergeSource::Copying::~Copying() {
  const Clock::time_point now = Clock::now();
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(now - began_).count();
  const uint64_t rate = bytes_ * 1'000'000 / std::max<uint64_t>(1, static_cast<uint64_t>(took));
  const uint64_t known = source_.bytes_per_second_.load();
  source_.bytes_per_second_.store(known == 0 ? rate : (known * 7 + rate) / 8);
  source_.copied_at_.store(now.time_since_epoch().count());
  source_.copying_.fetch_sub(1);
}

uint64_t MergeSource::Rest() const {
  return std::clamp(bytes_per_second_.load() / 1000 * kMillisecondsOfRest, kLeastRest, kMostRest);
}

bool MergeSource::Close() const { return taken_.load() >= size_ && dirty_.left() <= Rest(); }

bool MergeSource::IsBeingCopied() const {
  const Clock::time_point last{Clock::duration(copied_at_.load())};
  return copying_.load() > 0 || Clock::now() - last < kStandstill;
}

void MergeSource::WaitBeforeChange() const {
  if (taken_.load() / 2 < size_ || dirty_.left() <= Rest()) return;
  const Clock::time_point until = Clock::now() + kLongestWait;
  while (dirty_.left() > Rest() && IsBeingCopied() && Clock::now() < until) {
    std::this_thread::sleep_for(kLook);
  }
}

std::optional<ChunkRange> MergeSource::Take(uint64_t most) {
  if (Close()) {
    idle_.store(true);
    if (Close()) return std::nullopt;
  }
  const std::optional<ChunkRange> chunk = dirty_.Take(most);
  if (chunk) taken_.fetch_add(chunk->length);
  return chunk;
}

uint64_t MergeSource::left() const { return Close() ? 0 : dirty_.left(); }

// What is left for the last round was never to be processed as a chunk.
uint64_t MergeSource::total() const { return taken_.load() + left(); }

}  // namespace chainfs::jobs
