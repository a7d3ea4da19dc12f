// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/merge_source.h"

#include <gtest/gtest.h>

#include <thread>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kRegion = 64 << 10;

// Copied as fast as nothing, so that the rest may be as much as can be.
void Copy(MergeSource& source, ChunkRange chunk) {
  {
    const MergeSource::Copying copying(source, chunk.length);
  }
  source.Finished(chunk);
}

TEST(MergeSourceTest, EverythingIsTakenOnceHoweverLittleItIs) {
  MergeSource source(3 * kRegion + 512, kRegion);
  EXPECT_EQ(source.left(), 0u);
  source.Mark(0, 3 * kRegion + 512);
  EXPECT_FALSE(source.Close());
  EXPECT_EQ(source.left(), 3 * kRegion + 512);
  uint64_t taken = 0;
  while (const auto chunk = source.Take(kRegion)) {
    taken += chunk->length;
    Copy(source, *chunk);
  }
  EXPECT_EQ(taken, 3 * kRegion + 512);
  EXPECT_TRUE(source.Close());
  EXPECT_EQ(source.total(), taken);
}

TEST(MergeSourceTest, ALittleIsLeftForTheLastRound) {
  MergeSource source(128 * kMiB, kRegion);
  source.Mark(0, 128 * kMiB);
  while (const auto chunk = source.Take(kMiB)) Copy(source, *chunk);
  source.Mark(5 * kMiB, 1);
  EXPECT_EQ(source.left(), 0u) << "nothing for a lane";
  EXPECT_FALSE(source.Take(kMiB));
  EXPECT_TRUE(source.Close());
  const uint64_t total = source.total();
  const auto rest = source.TakeAny(kMiB);
  ASSERT_TRUE(rest);
  EXPECT_EQ(*rest, (ChunkRange{5 * kMiB, kRegion}));
  source.Finished(*rest);
  EXPECT_FALSE(source.TakeAny(kMiB));
  EXPECT_EQ(source.total(), total) << "no progress is told of it";
}

TEST(MergeSourceTest, MuchThatIsDirtyAgainIsForTheLanes) {
  MergeSource source(256 * kMiB, kRegion);
  int news = 0;
  source.SetNews([&news] { ++news; });
  source.Mark(0, 256 * kMiB);
  while (const auto chunk = source.Take(kMiB)) Copy(source, *chunk);
  EXPECT_TRUE(source.Close());
  EXPECT_FALSE(source.Take(kMiB));
  source.Mark(0, 1);
  EXPECT_EQ(news, 0) << "a little";
  source.Mark(0, 256 * kMiB);
  source.Mark(0, 256 * kMiB);
  EXPECT_EQ(news, 1);
  EXPECT_FALSE(source.Close());
  EXPECT_EQ(source.left(), 256 * kMiB);
}

TEST(MergeSourceTest, AGuestWaitsOnlyForCopyingThatGoesOnInALaterRound) {
  MergeSource source(128 * kMiB, kRegion);
  // The shortest time of several: this thread may have to wait for a processor.
  const auto waits = [&] {
    for (int i = 0; i < 20; ++i) {
      const auto began = MergeSource::Clock::now();
      source.WaitBeforeChange();
      if (MergeSource::Clock::now() - began <= std::chrono::milliseconds(10)) return false;
    }
    return true;
  };
  const auto round = [&] {
    source.Mark(0, 128 * kMiB);
    while (const auto chunk = source.Take(kMiB)) source.Finished(*chunk);
  };
  {
    const MergeSource::Copying copying(source, kMiB);
    source.Mark(0, 128 * kMiB);
    EXPECT_FALSE(waits()) << "the first round";
    for (int i = 0; i < 3; ++i) round();
    source.Mark(0, 128 * kMiB);
    EXPECT_TRUE(waits());
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  EXPECT_FALSE(waits()) << "paused";
}

}  // namespace
}  // namespace chainfs::jobs
