// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/dirty_bits.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/random.h"

namespace chainfs::qcow2 {
namespace {

using Contents = DirtyBits::Contents;

class DirtyBitsTest : public ::testing::Test {
 protected:
  DirtyBits Make(uint64_t size, uint32_t granularity_bits = 9) {
    return DirtyBits::Make(memory_, granularity_bits, size).value();
  }
  static std::vector<std::byte> All(const DirtyBits& bits) {
    std::vector<std::byte> all(bits.bits() / 8 + 1);
    bits.Fetch(0, all);
    return all;
  }

  MetadataCache cache_{16 << 20};
  BitmapMemory memory_{cache_};
};

TEST_F(DirtyBitsTest, MarksWholeGranules) {
  DirtyBits bits = Make(512 * 100);
  bits.Mark(511, 2);
  bits.Mark(512 * 9, 0);
  bits.Mark(512 * 99, UINT64_MAX);
  EXPECT_EQ(bits.CountOnes(), 3u);
  const std::vector<std::byte> all = All(bits);
  EXPECT_EQ(all[0], std::byte{3});
  EXPECT_EQ(all[12], std::byte{8}) << "nothing beyond the end";
  bits.Clear();
  EXPECT_EQ(bits.CountOnes(), 0u);
}

// Against one flag per granule, over several pieces.
TEST_F(DirtyBitsTest, AsAModelSays) {
  constexpr uint64_t kBits = 3 * 32768 + 77;
  DirtyBits bits = Make(kBits * 512 - 100);
  ASSERT_EQ(bits.bits(), kBits);
  std::vector<bool> model(kBits);
  Random random;
  for (int i = 0; i < 300; ++i) {
    const uint64_t first = random.Below(kBits);
    const uint64_t count = 1 + random.Below(i % 50 == 0 ? kBits : 20);
    bits.Mark(first * 512 + random.Below(512), (count - 1) * 512 + 1);
    for (uint64_t j = first; j < kBits && j < first + count + 1; ++j) {
      // The last one is touched only if the offset within the first one says so.
      if (j < first + count) model[j] = true;
    }
    bits.Mark(first * 512, count * 512);
  }
  const std::vector<std::byte> all = All(bits);
  for (uint64_t i = 0; i < kBits; ++i) {
    const bool dirty = (all[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0};
    ASSERT_TRUE(dirty || !model[i]) << i;
  }
}

TEST_F(DirtyBitsTest, TellsWhatIsAlikeThroughout) {
  DirtyBits bits = Make(512 * 40);
  std::vector<std::byte> out(8);
  EXPECT_EQ(bits.Fetch(0, out), Contents::kClean);
  bits.Mark(512 * 39, 1);
  EXPECT_EQ(bits.Fetch(0, out), Contents::kMixed);
  bits.Mark(0, 512 * 40);
  EXPECT_EQ(bits.Fetch(0, out), Contents::kDirty) << "what lies beyond the end does not count";
  EXPECT_EQ(out[4], std::byte{0xff});
  EXPECT_EQ(out[5], std::byte{0});
  EXPECT_EQ(bits.Fetch(64, out), Contents::kClean);
}

TEST_F(DirtyBitsTest, MergesWhatAFileHolds) {
  DirtyBits bits = Make(512 * 32768 * 2);
  const std::vector<std::byte> bytes(4096, std::byte{0x11});
  bits.Mark(512, 1);
  bits.Merge(32768 - 8, bytes);
  EXPECT_EQ(bits.CountOnes(), 1u + 4096 * 2);
}

TEST_F(DirtyBitsTest, WhatGrowsIsDirty) {
  DirtyBits bits = Make(512 * 100);
  bits.Mark(512 * 50, 1);
  bits.Resize(512 * 20);
  EXPECT_EQ(bits.CountOnes(), 0u);
  bits.Resize(512 * 40000);
  EXPECT_EQ(bits.CountOnes(), 40000u - 20);
}

// Where there is no memory more is dirty, never less.
TEST_F(DirtyBitsTest, WithoutMemoryAWholePieceIsDirty) {
  MetadataCache small(64 << 10);
  BitmapMemory memory(small);
  constexpr uint64_t kPieces = 1100;
  DirtyBits bits = DirtyBits::Make(memory, 9, kPieces * 32768 * 512).value();
  uint64_t taken = 0;
  while (memory.Take(4096)) taken += 4096;
  bits.Mark(512 * 5, 1);
  EXPECT_EQ(bits.CountOnes(), 32768u);
  memory.GiveBack(taken);
  bits.Mark(512 * 32768, 1);
  EXPECT_EQ(bits.CountOnes(), 32768u + 1);
}

TEST_F(DirtyBitsTest, GivesItsMemoryBack) {
  const uint64_t before = cache_.UsedBytes();
  {
    DirtyBits bits = Make(512 * 32768 * 2);
    bits.Mark(0, 1);
    const DirtyBits moved = std::move(bits);
    EXPECT_GT(cache_.UsedBytes(), before + 4096);
  }
  EXPECT_EQ(cache_.UsedBytes(), before);
}

}  // namespace
}  // namespace chainfs::qcow2
