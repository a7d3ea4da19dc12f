// SPDX-License-Identifier: Apache-2.0
//
// The stretches of a backup: each begins when the last chunk of the one before is over.
#include "jobs/backup/backup_source.h"

#include <gtest/gtest.h>

#include "jobs/engine/dirty_set.h"

namespace chainfs::jobs {
namespace {

using Chunk = std::optional<ChunkRange>;

// Copies all of it and makes the target complete.
void Complete(BackupSource& source) {
  while (source.stage() == BackupStage::kCopying && source.left() > 0) {
    const Chunk chunk = source.Take(64);
    ASSERT_TRUE(chunk);
    if (source.stage() == BackupStage::kCompleting) source.Completed();
    source.Finished(*chunk);
  }
  if (source.stage() != BackupStage::kCompleting) return;
  const Chunk mark = source.Take(64);
  ASSERT_TRUE(mark);
  source.Completed();
  source.Finished(*mark);
}

TEST(BackupSource, CompletesOnlyAfterTheLastChunkIsOver) {
  BackupSource source(128);
  const Chunk first = source.Take(64);
  const Chunk second = source.Take(64);
  EXPECT_EQ(*second, (ChunkRange{.offset = 64, .length = 64}));
  EXPECT_EQ(source.left(), 0u);
  EXPECT_FALSE(source.Take(64)) << "they are still under way";
  source.Finished(*second);
  EXPECT_EQ(source.stage(), BackupStage::kCopying);
  EXPECT_FALSE(source.Take(64));
  source.Finished(*first);
  EXPECT_EQ(source.stage(), BackupStage::kCompleting);
  EXPECT_EQ(source.left(), 1u);
  const Chunk mark = source.Take(64);
  EXPECT_EQ(*mark, (ChunkRange{.offset = 0, .length = 0}));
  EXPECT_EQ(source.left(), 0u);
  EXPECT_FALSE(source.Take(64)) << "once";
  source.Completed();
  source.Finished(*mark);
  EXPECT_EQ(source.stage(), BackupStage::kHeld);
  EXPECT_EQ(source.left(), 0u);
  EXPECT_EQ(source.total(), 128u);
}

TEST(BackupSource, IsOverWhenTheTargetCouldNotBeMadeComplete) {
  BackupSource source(64);
  source.Finished(*source.Take(64));
  source.Finished(*source.Take(64));
  EXPECT_EQ(source.stage(), BackupStage::kOver);
  EXPECT_EQ(source.left(), 0u);
  source.Withdraw();
  EXPECT_EQ(source.stage(), BackupStage::kOver);
}

TEST(BackupSource, NothingToCopyIsCompletedAtOnce) {
  BackupSource source(0);
  EXPECT_EQ(source.left(), 1u);
  const Chunk mark = source.Take(64);
  ASSERT_TRUE(mark);
  EXPECT_EQ(source.stage(), BackupStage::kCompleting);
  source.Completed();
  source.Finished(*mark);
  EXPECT_EQ(source.stage(), BackupStage::kHeld);
}

TEST(BackupSource, WithdrawsOnceItIsHeld) {
  BackupSource source(64);
  source.Withdraw();
  EXPECT_EQ(source.stage(), BackupStage::kCopying);
  Complete(source);
  ASSERT_EQ(source.stage(), BackupStage::kHeld);
  source.Withdraw();
  EXPECT_EQ(source.left(), 1u);
  const Chunk mark = source.Take(64);
  ASSERT_TRUE(mark);
  source.HoldOn();
  source.Finished(*mark);
  EXPECT_EQ(source.stage(), BackupStage::kHeld) << "somebody still looks";
  source.Withdraw();
  EXPECT_EQ(source.stage(), BackupStage::kWithdrawing);
}

TEST(BackupSource, MergesBackUntilThatSourceIsEmpty) {
  BackupSource source(0);
  source.SkipTo(BackupStage::kHeld);
  int news = 0;
  source.SetNews([&] { ++news; });
  source.Withdraw();
  const Chunk mark = source.Take(64);
  DirtySet dirty(256, 64);
  source.MergeBack(dirty, 64);
  source.Finished(*mark);
  EXPECT_EQ(source.stage(), BackupStage::kMergingBack);
  EXPECT_FALSE(source.Take(64));
  dirty.Mark(64, 1);
  EXPECT_EQ(news, 1);
  EXPECT_EQ(source.left(), 64u);
  EXPECT_EQ(source.total(), 64u);
  const Chunk chunk = source.Take(64);
  EXPECT_EQ(*chunk, (ChunkRange{.offset = 64, .length = 64}));
  dirty.Mark(64, 1);
  EXPECT_FALSE(source.Take(64)) << "it is with one lane at a time";
  source.Finished(*chunk);
  EXPECT_TRUE(source.Take(64));
}

}  // namespace
}  // namespace chainfs::jobs
