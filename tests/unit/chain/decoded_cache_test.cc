// SPDX-License-Identifier: Apache-2.0
//
// DecodedCache and the SingleFlightCache under it: bounded, one decoding for all who wait, failures
// not kept.
#include "blocklayer/cache/decoded_cache.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

struct Number {
  uint64_t value = 0;
  uint64_t bytes = 0;
  uint64_t MemoryBytes() const { return bytes; }
};
using NumberCache = SingleFlightCache<Number>;

TEST(SingleFlightCacheTest, NeverPassesItsLimit) {
  Random random;
  NumberCache cache(20'000, 4);
  for (int i = 0; i < 5000; ++i) {
    const CacheKey key{random.Below(3), random.Below(500)};
    const auto got = cache.Get(key, [&]() -> Result<Number> {
      return Number{key.owner * 1000 + key.number, random.Below(3000)};
    });
    ASSERT_EQ(got.value().value, key.owner * 1000 + key.number);
    ASSERT_LE(cache.Count().used_bytes, 20'000u);
  }
  EXPECT_GT(cache.Count().hits, 0u);
  for (uint64_t owner = 0; owner < 3; ++owner) cache.Drop(owner, owner == 0 ? 500 : UINT64_MAX);
  EXPECT_EQ(cache.Count().entries, 0u);
  EXPECT_EQ(cache.Count().used_bytes, 0u);
}

TEST(SingleFlightCacheTest, KeepsWhatIsUsed) {
  NumberCache cache(10 * (100 + NumberCache::kEntryOverhead), 1);
  const auto get = [&](uint64_t number) {
    return cache.Get({1, number}, [&]() -> Result<Number> { return Number{number, 100}; });
  };
  for (uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(get(i));
    ASSERT_TRUE(get(0));
  }
  EXPECT_TRUE(cache.Peek({1, 0}));
  EXPECT_TRUE(cache.Peek({1, 99}));
  EXPECT_FALSE(cache.Peek({1, 50}));
  EXPECT_EQ(cache.Count().entries, 10u);
}

TEST(SingleFlightCacheTest, OneMakesItAndTheOthersWait) {
  NumberCache cache(1 << 20, 2);
  std::atomic<int> made = 0;
  std::atomic<int> started = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      started.fetch_add(1);
      const auto got = cache.Get({1, 1}, [&]() -> Result<Number> {
        made.fetch_add(1);
        // All have at least begun; most wait by now.
        while (started != 4) std::this_thread::yield();
        return Number{7, 10};
      });
      EXPECT_EQ(got.value().value, 7u);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made.load(), 1);
}

TEST(SingleFlightCacheTest, FailuresAreNotKept) {
  NumberCache cache(1 << 20, 2);
  const auto failed =
      cache.Get({1, 1}, []() -> Result<Number> { return Fail(ErrorKind::kIo, "once"); });
  EXPECT_EQ(failed.error().message, "once");
  const auto out_of_memory = cache.Get({1, 1}, []() -> Result<Number> { throw std::bad_alloc(); });
  EXPECT_EQ(out_of_memory.error().kind, ErrorKind::kNoMemory);
  EXPECT_TRUE(cache.Get({1, 1}, []() -> Result<Number> { return Number{}; }));
}

class DecodedCacheTest : public testing::Test {
 protected:
  static constexpr uint32_t kCluster = 65536;

  DecodedCacheTest() : chain_(context_, *host_), image_(chain_.Add(16 * kCluster, kCluster)) {
    Random random;
    for (uint64_t i = 0; i < 16; ++i) {
      Buffer bytes(kCluster);
      random.Fill(bytes);
      chain_.FillCompressed(i, bytes);
    }
  }
  Status Read(DecodedCache& cache, uint64_t offset, std::span<std::byte> out) {
    const Extent extent = image_.Map(GuestOffset(offset), out.size(), MapDetail::kFast).value();
    const DecodedCache::Place place{chain_.layers()[0]->owner_id, extent.source, extent.host};
    return cache.Read(place, kCluster, offset % kCluster, out, [&](std::span<std::byte> cluster) {
      return image_.ReadCompressed(extent, cluster);
    });
  }
  bool Shows(uint64_t offset, std::span<const std::byte> bytes) const {
    return std::ranges::equal(bytes, std::span(chain_.shown()).subspan(offset, bytes.size()));
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_;
  FakeImage& image_;
};

TEST_F(DecodedCacheTest, SmallReadsDecodeOnce) {
  DecodedCache cache(1 << 20);
  Buffer out(4096);
  for (uint64_t at = 0; at < 2 * kCluster; at += out.size()) {
    ASSERT_TRUE(Read(cache, at, out));
    ASSERT_TRUE(Shows(at, out));
  }
  EXPECT_EQ(image_.decodes.load(), 2u);
  EXPECT_GT(cache.hits(), 20u);
}

TEST_F(DecodedCacheTest, WholeClustersPassItByUnlessAtHand) {
  DecodedCache cache(1 << 20);
  Buffer out(kCluster);
  ASSERT_TRUE(Read(cache, 0, out));
  EXPECT_TRUE(Shows(0, out));
  EXPECT_EQ(cache.UsedBytes(), 0u);
  ASSERT_TRUE(Read(cache, 100, std::span(out).first(7)));
  ASSERT_TRUE(Read(cache, 0, out));
  EXPECT_TRUE(Shows(0, out));
  EXPECT_EQ(image_.decodes.load(), 2u);
}

TEST_F(DecodedCacheTest, StaysWithinItsLimitAndWorksWithNone) {
  for (const uint64_t limit : {uint64_t{0}, uint64_t{3 * kCluster}}) {
    DecodedCache cache(limit);
    Random random;
    for (int i = 0; i < 300; ++i) {
      Buffer out(random.Between(1, 5000));
      const uint64_t at = random.Below(16) * kCluster + random.Below(kCluster - out.size() + 1);
      ASSERT_TRUE(Read(cache, at, out));
      ASSERT_TRUE(Shows(at, out));
      ASSERT_LE(cache.UsedBytes(), limit);
    }
  }
}

TEST_F(DecodedCacheTest, FailedReadsAreTriedAgain) {
  DecodedCache cache(1 << 20);
  Buffer out(100);
  host_->AddFault({.matches = On(HostOp::kRead)});
  EXPECT_FALSE(Read(cache, 0, out));
  EXPECT_TRUE(Read(cache, 0, out));
  EXPECT_TRUE(Shows(0, out));
}

}  // namespace
}  // namespace chainfs
