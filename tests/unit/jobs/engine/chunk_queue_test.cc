// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/chunk_queue.h"

#include <gtest/gtest.h>

#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kUnit = 4096;
const ChunkQueue::Time kNow{1000s};

TEST(ChunkQueue, CountsEachChunkOnce) {
  CursorSource source(10 * kUnit);
  ChunkQueue queue(source, kUnit, 4 * kUnit);
  EXPECT_FALSE(queue.AnythingTaken());
  EXPECT_EQ(queue.ChunksLeft(), 3u);
  uint64_t done = 0;
  while (const auto chunk = queue.Take(kNow)) {
    queue.Done(*chunk, chunk->length / 2, kNow, kNow + 20ms);
    EXPECT_EQ(queue.done(), done += chunk->length);
  }
  EXPECT_TRUE(queue.AnythingTaken());
  EXPECT_FALSE(queue.WorkLeft());
  EXPECT_EQ(queue.done(), queue.total());
  EXPECT_EQ(queue.copied(), queue.total() / 2);
}

TEST(ChunkQueue, WhatFailedComesFirst) {
  CursorSource source(8 * kUnit);
  ChunkQueue queue(source, kUnit, 4 * kUnit);
  const auto first = queue.Take(kNow);
  queue.TryAgain(*first);
  EXPECT_EQ(queue.ChunksLeft(), 2u);
  EXPECT_EQ(queue.Take(kNow), first);
  queue.GiveUp(*first);
  EXPECT_EQ(queue.done(), first->length);
  EXPECT_EQ(queue.copied(), 0u);
}

TEST(ChunkQueue, ChunksFitTheStorage) {
  CursorSource source(1000 * kUnit);
  ChunkQueue queue(source, kUnit, 8 * kUnit);
  const auto take = [&](std::chrono::milliseconds takes) {
    const auto chunk = queue.Take(kNow);
    queue.Done(*chunk, chunk->length, kNow, kNow + takes);
    return chunk->length / kUnit;
  };
  EXPECT_EQ(take(60ms), 8u);
  EXPECT_EQ(take(60ms), 4u);
  EXPECT_EQ(take(60ms), 2u);
  EXPECT_EQ(take(60ms), 1u);
  EXPECT_EQ(take(30ms), 1u);
  EXPECT_EQ(take(1ms), 1u);
  // Each ends at a multiple of its size, so these are the halves of larger ones.
  EXPECT_EQ(take(1ms), 1u);
  EXPECT_EQ(take(1ms), 2u);
  EXPECT_EQ(take(1ms), 4u);
  EXPECT_EQ(take(1ms), 8u);
}

TEST(ChunkQueue, TheFirstChunkIsSmall) {
  CursorSource source(64 << 20);
  ChunkQueue queue(source, 64 << 10, 4 << 20);
  std::vector<uint64_t> lengths;
  for (int i = 0; i < 5; ++i) {
    const auto chunk = queue.Take(kNow);
    ASSERT_TRUE(chunk);
    lengths.push_back(chunk->length);
    queue.Done(*chunk, chunk->length, kNow, kNow + 1ms);
  }
  // What is quick gets larger, up to the largest, and ends at multiples of what it is then.
  const std::vector<uint64_t> expected = {1 << 20, 1 << 20, 2 << 20, 4 << 20, 4 << 20};
  EXPECT_EQ(lengths, expected);
}

TEST(ChunkQueue, UnderALimitChunksAreATenthOfASecond) {
  CursorSource source(1000 * kUnit);
  ChunkQueue queue(source, kUnit, 64 * kUnit);
  queue.SetSpeed(20 * kUnit, kNow);
  const auto chunk = queue.Take(kNow);
  EXPECT_EQ(chunk->length, 2 * kUnit);
  EXPECT_FALSE(queue.MayStart(kNow));
  EXPECT_TRUE(queue.MayStart(queue.ready_at()));
  queue.Refund(*chunk, 0);
  EXPECT_TRUE(queue.MayStart(kNow));
  queue.SetSpeed(1, kNow);
  EXPECT_EQ(queue.Take(kNow)->length, kUnit);
}

TEST(ChunkQueue, TheTotalOutlivesTheSource) {
  auto source = std::make_unique<CursorSource>(3 * kUnit);
  ChunkQueue queue(*source, kUnit, kUnit);
  queue.Close();
  source.reset();
  EXPECT_EQ(queue.total(), 3 * kUnit);
  EXPECT_FALSE(queue.WorkLeft());
  EXPECT_FALSE(queue.Take(kNow).has_value());
  queue.Close();
  EXPECT_EQ(queue.total(), 3 * kUnit);
}

}  // namespace
}  // namespace chainfs::jobs
