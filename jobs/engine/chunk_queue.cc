// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/chunk_queue.h"

#include <algorithm>

#include "blocklayer/base/types.h"

namespace chainfs::jobs {
namespace {

// A chunk in flight is what a pause waits for: half of the 100 ms within which it must take effect.
constexpr std::chrono::milliseconds kSlowChunk{50};
constexpr std::chrono::milliseconds kQuickChunk{10};
// Until it is known how fast the storage is.
constexpr uint64_t kFirstChunk = 1 << 20;

}  // namespace

ChunkQueue::ChunkQueue(WorkSource& source, uint64_t unit, uint64_t largest)
    : source_(&source),
      unit_(unit),
      largest_(std::max(largest, unit)),
      chunk_size_(std::max(unit, RoundDown(std::min(kFirstChunk, largest_), unit))) {}

bool ChunkQueue::WorkLeft() const {
  return !again_.empty() || (source_ != nullptr && source_->left() > 0);
}

uint64_t ChunkQueue::ChunksLeft() const {
  return again_.size() + (source_ == nullptr ? 0 : DivRoundUp(source_->left(), chunk_size_));
}

// Under a limit the chunks shrink, so that progress stays smooth and cancel quick.
uint64_t ChunkQueue::NextLength() const {
  if (throttle_.speed() == 0) return chunk_size_;
  return std::min(chunk_size_, std::max(unit_, RoundDown(throttle_.speed() / 10, unit_)));
}

std::optional<ChunkRange> ChunkQueue::Take(Time now) {
  std::optional<ChunkRange> chunk;
  if (!again_.empty()) {
    chunk = again_.back();
    again_.pop_back();
  } else if (source_ != nullptr) {
    chunk = source_->Take(NextLength());
  }
  if (!chunk) return std::nullopt;
  taken_ = true;
  throttle_.Charge(chunk->length, now);
  return chunk;
}

void ChunkQueue::Refund(ChunkRange chunk, uint64_t copied) {
  throttle_.Refund(chunk.length - std::min(chunk.length, copied));
}

void ChunkQueue::Done(ChunkRange chunk, uint64_t copied, Time began, Time now) {
  GiveUp(chunk);
  copied_ += copied;
  meter_.Add(done_, copied_, now);
  if (now - began > kSlowChunk) {
    chunk_size_ = std::max(unit_, RoundDown(chunk_size_ / 2, unit_));
  } else if (now - began < kQuickChunk) {
    chunk_size_ = std::min(largest_, chunk_size_ * 2);
  }
}

void ChunkQueue::GiveUp(ChunkRange chunk) {
  if (source_ != nullptr) source_->Finished(chunk);
  done_ += chunk.length;
}

void ChunkQueue::TryAgain(ChunkRange chunk) { again_.push_back(chunk); }

uint64_t ChunkQueue::total() const { return source_ == nullptr ? last_total_ : source_->total(); }

void ChunkQueue::Close() {
  last_total_ = total();
  source_ = nullptr;
}

}  // namespace chainfs::jobs
