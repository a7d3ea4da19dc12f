// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/work_source.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "jobs/engine/cursor_source.h"
#include "jobs/engine/dirty_set.h"

namespace chainfs::jobs {
namespace {

TEST(CursorSource, WalksForwardOnce) {
  CursorSource source(10);
  EXPECT_EQ(source.total(), 10u);
  EXPECT_EQ(source.Take(4), (ChunkRange{0, 4}));
  EXPECT_EQ(source.left(), 6u);
  EXPECT_EQ(source.Take(4), (ChunkRange{4, 4}));
  EXPECT_EQ(source.Take(4), (ChunkRange{8, 2}));
  EXPECT_FALSE(source.Take(4).has_value());
  EXPECT_EQ(source.left(), 0u);
  EXPECT_EQ(source.total(), 10u);
}

TEST(CursorSource, AChunkEndsAtAMultipleOfTheMost) {
  CursorSource source(20);
  EXPECT_EQ(source.Take(2), (ChunkRange{0, 2}));
  EXPECT_EQ(source.Take(8), (ChunkRange{2, 6}));
  EXPECT_EQ(source.Take(6), (ChunkRange{8, 4}));
  EXPECT_EQ(source.Take(8), (ChunkRange{12, 4}));
  EXPECT_EQ(source.Take(8), (ChunkRange{16, 4}));
}

TEST(DirtySet, IsCleanWhereNothingIsMarkedOrTaken) {
  DirtySet set(1000, 64);
  EXPECT_TRUE(set.IsClean(0, 5000));
  set.Mark(100, 1);
  EXPECT_FALSE(set.IsClean(127, 1));
  EXPECT_FALSE(set.IsClean(0, 65));
  EXPECT_TRUE(set.IsClean(0, 64));
  EXPECT_TRUE(set.IsClean(128, 1000));
  const auto chunk = set.Take(64);
  ASSERT_TRUE(chunk);
  EXPECT_FALSE(set.IsClean(64, 64));
  set.Finished(*chunk);
  EXPECT_TRUE(set.IsClean(0, 1000));
  EXPECT_TRUE(set.IsClean(2000, 1));
}

TEST(DirtySet, GivesWhatIsMarkedInRuns) {
  DirtySet set(1000, 64);
  EXPECT_FALSE(set.Take(1000).has_value());
  set.Mark(100, 100);  // regions 1, 2 and 3
  EXPECT_EQ(set.left(), 192u);
  EXPECT_EQ(set.Take(128), (ChunkRange{64, 128}));
  EXPECT_EQ(set.Take(128), (ChunkRange{192, 64}));
  EXPECT_FALSE(set.Take(128).has_value());
  set.Mark(999, 1000);  // the last region, which is short
  EXPECT_EQ(set.left(), 1000u % 64);
  EXPECT_EQ(set.Take(1), (ChunkRange{960, 40}));
  set.Mark(1000, 1);  // beyond the end
  set.Mark(5000, UINT64_MAX);
  EXPECT_EQ(set.left(), 0u);
  EXPECT_EQ(set.total(), 192u + 40u);
}

TEST(DirtySet, ARegionIsWithOneLaneAtATime) {
  DirtySet set(256, 64);
  set.Mark(0, 64);
  const auto first = set.Take(64);
  ASSERT_TRUE(first.has_value());
  set.Mark(0, 64);  // while it is being processed
  EXPECT_EQ(set.left(), 64u);
  EXPECT_FALSE(set.Take(64).has_value());
  set.Finished(*first);
  EXPECT_EQ(set.Take(64), first);
  EXPECT_EQ(set.total(), 128u);
}

TEST(DirtySet, MarkingWhatIsMarkedAddsNothing) {
  DirtySet set(256, 64);
  set.Mark(0, 256);
  set.Mark(10, 100);
  EXPECT_EQ(set.total(), 256u);
}

TEST(DirtySet, TellsWhenThereIsSomethingAgain) {
  DirtySet set(256, 64);
  int told = 0;
  set.SetNews([&] { ++told; });
  set.Mark(0, 1);
  set.Mark(64, 1);
  EXPECT_EQ(told, 1);
  set.Finished(*set.Take(256));
  set.Mark(0, 1);
  EXPECT_EQ(told, 2);
}

TEST(DirtySet, GuestsMarkWhileLanesTake) {
  constexpr uint64_t kRegions = 64;
  DirtySet set(kRegions * 64, 64);
  std::vector<std::atomic<int>> with(kRegions);
  std::atomic<bool> over = false;
  std::atomic<uint64_t> taken = 0;
  std::vector<std::thread> threads;
  for (int lane = 0; lane < 2; ++lane) {
    threads.emplace_back([&] {
      for (;;) {
        const bool last = over;
        const auto chunk = set.Take(128);
        if (!chunk) {
          if (last) return;
          std::this_thread::yield();
          continue;
        }
        for (uint64_t at = chunk->offset; at < chunk->offset + chunk->length; at += 64) {
          EXPECT_EQ(with[at / 64]++, 0);
          --with[at / 64];
        }
        taken += chunk->length;
        set.Finished(*chunk);
      }
    });
  }
  for (uint64_t i = 0; i < 20'000; ++i) set.Mark((i * 7919) % (kRegions * 64), 100);
  over = true;
  for (std::thread& thread : threads) thread.join();
  // Both may have left while the other had the last one; it comes again then.
  while (const auto chunk = set.Take(64)) {
    taken += chunk->length;
    set.Finished(*chunk);
  }
  EXPECT_EQ(set.left(), 0u);
  EXPECT_EQ(taken, set.total());
}

}  // namespace
}  // namespace chainfs::jobs
