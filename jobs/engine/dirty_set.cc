// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/dirty_set.h"

#include <algorithm>
#include <utility>

#include "blocklayer/base/types.h"

namespace chainfs::jobs {

DirtySet::DirtySet(uint64_t size, uint64_t granularity)
    : size_(size), granularity_(granularity), regions_(DivRoundUp(size, granularity)) {}

uint64_t DirtySet::BytesOf(uint64_t region) const {
  return std::min(granularity_, size_ - region * granularity_);
}

bool DirtySet::MayTake(uint64_t region) const {
  return regions_[region].dirty && !regions_[region].taken;
}

void DirtySet::Mark(uint64_t offset, uint64_t length) {
  if (offset >= size_) return;
  const uint64_t end = offset + std::min(length, size_ - offset);
  std::shared_ptr<const std::function<void()>> news;
  {
    MutexLock lock(mu_);
    const bool was_empty = left_ == 0;
    for (uint64_t at = RoundDown(offset, granularity_); at < end; at += granularity_) {
      const uint64_t region = at / granularity_;
      if (std::exchange(regions_[region].dirty, true)) continue;
      left_ += BytesOf(region);
      total_ += BytesOf(region);
    }
    if (was_empty && left_ > 0) news = news_;
  }
  if (news) (*news)();
}

bool DirtySet::IsClean(uint64_t offset, uint64_t length) const {
  if (offset >= size_) return true;
  const uint64_t end = offset + std::min(length, size_ - offset);
  MutexLock lock(mu_);
  for (uint64_t at = RoundDown(offset, granularity_); at < end; at += granularity_) {
    const Region& region = regions_[at / granularity_];
    if (region.dirty || region.taken) return false;
  }
  return true;
}

// The first run of regions that may be taken, searched from where the last one ended.
std::optional<ChunkRange> DirtySet::Take(uint64_t most) {
  MutexLock lock(mu_);
  if (left_ == 0) return std::nullopt;
  const uint64_t count = regions_.size();
  uint64_t looked_at = 0;
  while (looked_at < count && !MayTake((next_ + looked_at) % count)) ++looked_at;
  if (looked_at == count) return std::nullopt;
  const uint64_t first = (next_ + looked_at) % count;
  ChunkRange chunk{first * granularity_, 0};
  uint64_t region = first;
  while (region < count && MayTake(region) &&
         (region == first || chunk.length + BytesOf(region) <= most)) {
    regions_[region] = {.dirty = false, .taken = true};
    chunk.length += BytesOf(region++);
  }
  left_ -= chunk.length;
  next_ = region % count;
  return chunk;
}

void DirtySet::Finished(ChunkRange chunk) {
  MutexLock lock(mu_);
  for (uint64_t at = chunk.offset; at < chunk.offset + chunk.length; at += granularity_) {
    regions_[at / granularity_].taken = false;
  }
}

uint64_t DirtySet::left() const {
  MutexLock lock(mu_);
  return left_;
}

uint64_t DirtySet::total() const {
  MutexLock lock(mu_);
  return total_;
}

void DirtySet::SetNews(const std::function<void()>& news) {
  auto listener = news ? std::make_shared<const std::function<void()>>(news) : nullptr;
  MutexLock lock(mu_);
  news_ = std::move(listener);
}

}  // namespace chainfs::jobs
