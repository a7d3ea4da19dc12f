// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_source.h"

#include <algorithm>

namespace chainfs::jobs {

BackupStage BackupSource::stage() const {
  const MutexLock lock(mu_);
  return stage_;
}

void BackupSource::Begin(BackupStage stage) {
  stage_ = stage;
  next_ = BackupStage::kOver;
  mark_taken_ = false;
}

void BackupSource::SkipTo(BackupStage stage) {
  const MutexLock lock(mu_);
  Begin(stage);
}

void BackupSource::Completed() {
  const MutexLock lock(mu_);
  next_ = BackupStage::kHeld;
}

void BackupSource::Withdraw() {
  const MutexLock lock(mu_);
  if (stage_ == BackupStage::kHeld) Begin(BackupStage::kWithdrawing);
}

void BackupSource::HoldOn() {
  const MutexLock lock(mu_);
  next_ = BackupStage::kHeld;
}

void BackupSource::MergeBack(WorkSource& source, uint64_t unit) {
  const MutexLock lock(mu_);
  source.SetNews(news_);
  merging_ = &source;
  merging_unit_ = unit;
  next_ = BackupStage::kMergingBack;
}

void BackupSource::Over() {
  const MutexLock lock(mu_);
  if (merging_ != nullptr) merged_ = merging_->total();
  merging_ = nullptr;
  Begin(BackupStage::kOver);
}

bool BackupSource::MarkLeft() const {
  const bool one_chunk = stage_ == BackupStage::kCompleting || stage_ == BackupStage::kWithdrawing;
  return one_chunk && !mark_taken_;
}

std::optional<ChunkRange> BackupSource::Take(uint64_t most) {
  const MutexLock lock(mu_);
  if (MarkLeft()) {
    mark_taken_ = true;
    return ChunkRange{.offset = 0, .length = 0};
  }
  if (stage_ == BackupStage::kMergingBack) return merging_->Take(std::max(most, merging_unit_));
  if (stage_ != BackupStage::kCopying) return std::nullopt;
  if (copying_.left() == 0 && in_flight_ == 0) {
    // There was nothing to copy at all.
    Begin(BackupStage::kCompleting);
    mark_taken_ = true;
    return ChunkRange{.offset = 0, .length = 0};
  }
  const std::optional<ChunkRange> chunk = copying_.Take(most);
  if (chunk) ++in_flight_;
  return chunk;
}

void BackupSource::Finished(ChunkRange chunk) {
  const MutexLock lock(mu_);
  switch (stage_) {
    case BackupStage::kCopying:
      if (--in_flight_ == 0 && copying_.left() == 0) Begin(BackupStage::kCompleting);
      break;
    case BackupStage::kCompleting:
    case BackupStage::kWithdrawing:
      Begin(next_);
      break;
    case BackupStage::kMergingBack:
      merging_->Finished(chunk);
      break;
    case BackupStage::kHeld:
    case BackupStage::kOver:
      break;
  }
}

uint64_t BackupSource::left() const {
  const MutexLock lock(mu_);
  if (MarkLeft()) return 1;
  if (stage_ == BackupStage::kMergingBack) return merging_->left();
  if (stage_ != BackupStage::kCopying) return 0;
  return copying_.left() == 0 && in_flight_ == 0 ? 1 : copying_.left();
}

uint64_t BackupSource::total() const {
  const MutexLock lock(mu_);
  return copying_.total() + (merging_ == nullptr ? merged_ : merging_->total());
}

void BackupSource::SetNews(const std::function<void()>& news) {
  const MutexLock lock(mu_);
  news_ = news;
}

}  // namespace chainfs::jobs
