// SPDX-License-Identifier: Apache-2.0
//
// BackupSource: the stretches of a backup, one after the other: copying, making the target
// complete, then, once nobody looks at the point any more, merging back what guests wrote
// meanwhile. A stretch begins when the last chunk of the one before is over, so whoever processes a
// chunk knows what it is by the stage.
//
// Threads: stage and the changes of it, any thread; the rest as WorkSource.
#pragma once

#include "blocklayer/base/sync.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

enum class BackupStage : uint8_t {
  kCopying,
  kCompleting,   // one chunk, without length
  kHeld,         // nothing to do
  kWithdrawing,  // one chunk, without length: nobody is to look at the point from now on
  kMergingBack,
  kOver,  // nothing to do
};

class BackupSource final : public WorkSource {
 public:
  // Begins with copying `length` bytes.
  explicit BackupSource(uint64_t length) : copying_(length) {}

  BackupStage stage() const EXCLUDES(mu_);
  // Before anything is taken: what comes before that stage is done already.
  void SkipTo(BackupStage stage) EXCLUDES(mu_);
  // ---- While a chunk of the stage before, or nothing, is under way.
  // The target is complete; else, once its chunk is given up, all is over.
  void Completed() EXCLUDES(mu_);
  // From kHeld.
  void Withdraw() EXCLUDES(mu_);
  // The chunk of kWithdrawing found that somebody looks at the point: back to kHeld.
  void HoldOn() EXCLUDES(mu_);
  // `source` is used until Over; its chunks are at least `unit` bytes.
  void MergeBack(WorkSource& source, uint64_t unit) EXCLUDES(mu_);
  // Nothing is left to do; no source of others is used from here on.
  void Over() EXCLUDES(mu_);

  std::optional<ChunkRange> Take(uint64_t most) override EXCLUDES(mu_);
  void Finished(ChunkRange chunk) override EXCLUDES(mu_);
  uint64_t left() const override EXCLUDES(mu_);
  uint64_t total() const override EXCLUDES(mu_);
  void SetNews(const std::function<void()>& news) override EXCLUDES(mu_);

 private:
  // A stage of one chunk that is still to be taken.
  bool MarkLeft() const REQUIRES(mu_);
  void Begin(BackupStage stage) REQUIRES(mu_);

  mutable Mutex mu_;
  CursorSource copying_ GUARDED_BY(mu_);
  WorkSource* merging_ GUARDED_BY(mu_) = nullptr;
  uint64_t merging_unit_ GUARDED_BY(mu_) = 1;
  uint64_t merged_ GUARDED_BY(mu_) = 0;  // total of what was merged, once it is used no more
  BackupStage stage_ GUARDED_BY(mu_) = BackupStage::kCopying;
  BackupStage next_ GUARDED_BY(mu_) = BackupStage::kOver;  // after a stage of one chunk
  bool mark_taken_ GUARDED_BY(mu_) = false;
  uint64_t in_flight_ GUARDED_BY(mu_) = 0;  // chunks
  std::function<void()> news_ GUARDED_BY(mu_);
};

}  // namespace chainfs::jobs
