// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/hot_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "tests/support/random.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kKiB = 1 << 10;
constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kUnit = 64 * kKiB;

class HotSourceTest : public testing::Test {
 protected:
  HotSource Source(uint64_t length, uint64_t unit = kUnit, std::vector<ChunkRange> trace = {}) {
    return {length, unit, reads_, std::move(trace)};
  }
  void Read(uint64_t offset, uint64_t length = 4096) {
    reads_->AfterRead(GuestOffset(offset), length);
  }

  static void ExpectForward(HotSource& source, uint64_t from, uint64_t to) {
    for (uint64_t at = from; at < to; at += kMiB) {
      ASSERT_EQ(source.Take(kMiB), (ChunkRange{at, kMiB}));
    }
  }

  const std::shared_ptr<FirstReads> reads_ = std::make_shared<FirstReads>(4096);
};

TEST_F(HotSourceTest, WithoutReadsItWalksForward) {
  HotSource source = Source(2 * kMiB + 512);
  EXPECT_EQ(source.total(), 2 * kMiB + 512);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{0, kMiB}));
  EXPECT_EQ(source.left(), kMiB + 512);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{kMiB, kMiB}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{2 * kMiB, 512}));
  EXPECT_EQ(source.Take(kMiB), std::nullopt);
  EXPECT_EQ(source.left(), 0u);
  EXPECT_EQ(source.taken_early(), 0u);
  HotSource empty = Source(0);
  Read(0);
  EXPECT_EQ(empty.Take(kMiB), std::nullopt);
}

TEST_F(HotSourceTest, WhatIsReadComesFirstThenItsNeighboursThenTheRest) {
  HotSource source = Source(64 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{0, kMiB}));
  Read(40 * kMiB + 100);
  Read(20 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{40 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{20 * kMiB, kUnit}));
  // Those of the newest first.
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{20 * kMiB + kUnit, kMiB - kUnit}));
  // A read that comes now goes before them.
  Read(5 * kMiB + kUnit);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{5 * kMiB + kUnit, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{5 * kMiB + 2 * kUnit, kMiB - 2 * kUnit}));
  ExpectForward(source, 6 * kMiB, 13 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{13 * kMiB, 2 * kUnit}));
  ExpectForward(source, 21 * kMiB, 28 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{28 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{40 * kMiB + kUnit, kMiB - kUnit}));
  ExpectForward(source, 41 * kMiB, 48 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{48 * kMiB, kUnit}));
  EXPECT_EQ(source.taken_early(), 24 * kMiB + 3 * kUnit);
  // The rest, without what was taken.
  ExpectForward(source, kMiB, 5 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{5 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{13 * kMiB + 2 * kUnit, kMiB - 2 * kUnit}));
  ExpectForward(source, 14 * kMiB, 20 * kMiB);
  EXPECT_EQ(source.taken_early(), 24 * kMiB + 3 * kUnit);
}

TEST_F(HotSourceTest, WhatWasTakenDoesNotComeAgain) {
  HotSource source = Source(4 * kMiB);
  EXPECT_EQ(source.Take(2 * kMiB), (ChunkRange{0, 2 * kMiB}));
  Read(kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{2 * kMiB, kMiB}));
  Read(4 * kMiB);  // beyond the end
  Read(100 * kMiB);
  EXPECT_EQ(source.Take(2 * kMiB), (ChunkRange{3 * kMiB, kMiB}));
  Read(0, 4 * kMiB);
  EXPECT_EQ(source.Take(kMiB), std::nullopt);
}

TEST_F(HotSourceTest, AReaderThatGoesForwardIsRunAheadOf) {
  HotSource source = Source(64 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{0, kMiB}));
  Read(30 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{30 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{30 * kMiB + kUnit, kMiB - kUnit}));
  uint64_t at = 31 * kMiB;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(source.Take(kMiB), (ChunkRange{at, kMiB}));
    at += kMiB;
    Read(at - kUnit);  // was copied a moment ago
  }
}

TEST_F(HotSourceTest, ATraceComesFirstInItsOrder) {
  HotSource source = Source(16 * kMiB, kUnit,
                            {{9 * kMiB + 5, 2 * kMiB},
                             {3 * kMiB, 1},
                             {10 * kMiB, kMiB},  // was named
                             {16 * kMiB, kMiB},  // beyond the end
                             {UINT64_MAX - 5, UINT64_MAX},
                             {15 * kMiB + 512, INT64_MAX},
                             {0, 0}});
  Read(5 * kMiB);
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{9 * kMiB, kMiB}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{10 * kMiB, kMiB}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{11 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{3 * kMiB, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{15 * kMiB, kMiB}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{5 * kMiB, kUnit}));
}

TEST_F(HotSourceTest, ChunksBeginAndEndAtUnitsOrAtTheEnd) {
  HotSource source = Source(5 * kMiB + 512, 2 * kMiB, {{5 * kMiB, 1}, {3 * kMiB, 1}});
  EXPECT_EQ(source.Take(2 * kMiB), (ChunkRange{4 * kMiB, kMiB + 512}));
  EXPECT_EQ(source.Take(2 * kMiB), (ChunkRange{2 * kMiB, 2 * kMiB}));
  EXPECT_EQ(source.Take(2 * kMiB), (ChunkRange{0, 2 * kMiB}));
  EXPECT_EQ(source.Take(2 * kMiB), std::nullopt);
}

// However it is asked and whatever is read, each byte comes once.
TEST_F(HotSourceTest, EveryByteComesOnce) {
  Random random;
  for (int round = 0; round < 50; ++round) {
    const uint64_t unit = uint64_t{512} << random.Below(12);
    const uint64_t length = random.Below(400) * unit + random.Below(2) * 512;
    std::vector<ChunkRange> trace;
    for (uint64_t i = random.Below(20); i > 0; --i) {
      trace.push_back({random.Below(length + 2 * unit), random.Below(8 * unit)});
    }
    HotSource source = Source(length, unit, std::move(trace));
    std::vector<ChunkRange> taken;
    uint64_t left = length;
    while (true) {
      EXPECT_EQ(source.left(), left);
      const uint64_t most = unit * (1 + random.Below(8));
      const auto chunk = source.Take(most);
      if (!chunk) break;
      ASSERT_GT(chunk->length, 0u);
      ASSERT_LE(chunk->length, most);
      ASSERT_EQ(chunk->offset % unit, 0u);
      ASSERT_TRUE((chunk->offset + chunk->length) % unit == 0 ||
                  chunk->offset + chunk->length == length);
      taken.push_back(*chunk);
      left -= chunk->length;
      if (random.OneIn(2)) Read(random.Below(length + unit), 1 + random.Below(3 * unit));
    }
    EXPECT_EQ(left, 0u);
    std::ranges::sort(taken, {}, &ChunkRange::offset);
    uint64_t at = 0;
    for (const ChunkRange& chunk : taken) {
      ASSERT_EQ(chunk.offset, at);
      at += chunk.length;
    }
    ASSERT_EQ(at, length);
  }
}

// More than it remembers.
TEST_F(HotSourceTest, ManyRangesAheadAreBounded) {
  constexpr uint64_t kRanges = HotSource::kMostAhead + 100;
  std::vector<ChunkRange> trace;
  for (uint64_t i = 0; i < kRanges; ++i) trace.push_back({(2 * i + 1) * kUnit, kUnit});
  HotSource source = Source(2 * kRanges * kUnit, kUnit, std::move(trace));
  for (uint64_t i = 0; i < HotSource::kMostAhead; ++i) {
    ASSERT_EQ(source.Take(kMiB), (ChunkRange{(2 * i + 1) * kUnit, kUnit}));
  }
  // Full: the walk goes on, and makes room for one each time.
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{0, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{(2 * HotSource::kMostAhead + 1) * kUnit, kUnit}));
  EXPECT_EQ(source.Take(kMiB), (ChunkRange{2 * kUnit, kUnit}));
  while (source.Take(kMiB)) {
  }
  EXPECT_EQ(source.left(), 0u);
}

}  // namespace
}  // namespace chainfs::jobs
