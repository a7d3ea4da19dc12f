// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/cache/metadata_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/random.h"

namespace chainfs {
namespace {

// Fills a slice with a value that tells owner and offset apart.
MetadataCache::Loader Marking(uint64_t value, std::atomic<int>* loads = nullptr) {
  return [value, loads](std::span<std::byte> out) -> Status {
    if (loads != nullptr) loads->fetch_add(1);
    std::ranges::fill(out, static_cast<std::byte>(value));
    return {};
  };
}

TEST(MetadataCacheTest, LoadsOnceAndRemembers) {
  MetadataCache cache(1 << 20);
  const uint64_t owner = cache.NewOwner();
  std::atomic<int> loads = 0;
  for (int i = 0; i < 3; ++i) {
    const auto slice = cache.Get(owner, HostOffset(4096), 4096, Marking(7, &loads));
    ASSERT_TRUE(slice);
    EXPECT_EQ((*slice)->bytes()[0], std::byte{7});
  }
  EXPECT_EQ(loads.load(), 1);
  EXPECT_EQ(cache.hits(), 2u);
  EXPECT_EQ(cache.misses(), 1u);
}

TEST(MetadataCacheTest, OwnersDoNotSeeEachOther) {
  MetadataCache cache(1 << 20);
  const uint64_t one = cache.NewOwner();
  const uint64_t other = cache.NewOwner();
  ASSERT_TRUE(cache.Get(one, HostOffset(0), 512, Marking(1)));
  const auto slice = cache.Get(other, HostOffset(0), 512, Marking(2));
  ASSERT_TRUE(slice);
  EXPECT_EQ((*slice)->bytes()[511], std::byte{2});
}

TEST(MetadataCacheTest, AFailedLoadIsTriedAgain) {
  MetadataCache cache(1 << 20);
  const uint64_t owner = cache.NewOwner();
  const auto failed = cache.Get(owner, HostOffset(0), 512, [](std::span<std::byte>) -> Status {
    return Fail(ErrorKind::kIo, "no");
  });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "no");
  EXPECT_TRUE(cache.Get(owner, HostOffset(0), 512, Marking(3)));
}

TEST(MetadataCacheTest, StaysWithinItsLimitAndKeepsWhatIsHeld) {
  constexpr uint64_t kLimit = 512 << 10;
  MetadataCache cache(kLimit);
  const uint64_t owner = cache.NewOwner();
  const auto held = cache.Get(owner, HostOffset(0), 4096, Marking(9));
  ASSERT_TRUE(held);
  for (uint64_t i = 1; i < 2000; ++i) {
    ASSERT_TRUE(cache.Get(owner, HostOffset(i * 4096), 4096, Marking(i)));
  }
  EXPECT_LE(cache.UsedBytes(), kLimit + 16 * 8192);
  std::atomic<int> loads = 0;
  const auto again = cache.Get(owner, HostOffset(0), 4096, Marking(1, &loads));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *held);
  EXPECT_EQ(loads.load(), 0);
}

TEST(MetadataCacheTest, ADroppedOwnerIsForgotten) {
  MetadataCache cache(1 << 20);
  const uint64_t owner = cache.NewOwner();
  ASSERT_TRUE(cache.Get(owner, HostOffset(0), 4096, Marking(1)));
  cache.DropOwner(owner);
  EXPECT_EQ(cache.UsedBytes(), 0u);
}

TEST(MetadataCacheTest, ThreadsShareOneLoadAndSeeTheRightBytes) {
  MetadataCache cache(64 << 10);  // far too small: slices come and go
  const uint64_t owner = cache.NewOwner();
  Random seeds;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, random = seeds.Fork()]() mutable {
      for (int i = 0; i < 3000; ++i) {
        const uint64_t n = random.Below(200);
        const auto slice = cache.Get(owner, HostOffset(n * 512), 512, Marking(n));
        ASSERT_TRUE(slice);
        ASSERT_EQ((*slice)->bytes()[random.Below(512)], static_cast<std::byte>(n));
      }
    });
  }
}

TEST(MetadataSliceTest, APairIsReadAsItWasStored) {
  MetadataSlice slice(4096);
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const MetadataSlice::Pair pair = slice.LoadPair(10);
        ASSERT_EQ(pair.first, ~pair.second + 1);
      }
    });
  }
  for (uint64_t value = 1; value < 100'000; ++value) {
    slice.StorePair(10, {.first = value, .second = ~value + 1});
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(slice.LoadWord(10), 99'999u);
}

}  // namespace
}  // namespace chainfs
