// SPDX-License-Identifier: Apache-2.0
//
// The merged index: right runs, as few as can be, whatever the depth; one building at a time;
// bounded memory.
#include "blocklayer/chain/flat_index.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 65536;

class FlatIndexTest : public testing::Test {
 protected:
  FlatRegion Build(uint64_t number = 0) {
    const Layers& layers = chain_.layers();
    return BuildFlatRegion(layers, StackSources(layers), layers[0]->image->virtual_size(), number)
        .value();
  }
  void Data(uint64_t cluster) { chain_.FillData(cluster, Buffer(kCluster, std::byte{1})); }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
};

TEST_F(FlatIndexTest, RunsKeepWhatTheyAreGiven) {
  const FlatRun run(8191, 65534, ExtentKind::kCompressed, HostOffset(1ull << 61), 2 << 20);
  EXPECT_EQ(run.begin_sector(), 8191u);
  EXPECT_EQ(run.source(), 65534u);
  EXPECT_EQ(run.kind(), ExtentKind::kCompressed);
  EXPECT_EQ(run.host(), HostOffset(1ull << 61));
  EXPECT_EQ(run.compressed_bytes(), 2u << 20);
}

TEST_F(FlatIndexTest, AnEmptyStackIsOneRun) {
  for (int i = 0; i < 5; ++i) chain_.Add(8 << 20, kCluster);
  const FlatRegion region = Build(1);
  ASSERT_EQ(region.size(), 1u);
  EXPECT_EQ(region.run(0).kind(), ExtentKind::kUnallocated);
  EXPECT_EQ(region.EndByte(), FlatRegion::kBytes);
  for (const LayerPtr& layer : chain_.layers()) EXPECT_EQ(AsFake(layer).map_calls.load(), 1u);
}

TEST_F(FlatIndexTest, NeighboursInOneFileAreOneRun) {
  chain_.Add(4 << 20, kCluster);
  for (uint64_t i = 0; i < 64; ++i) Data(i);
  chain_.Add(4 << 20, kCluster);
  Data(30);
  const FlatRegion region = Build();
  ASSERT_EQ(region.size(), 3u);
  EXPECT_EQ(region.BeginByte(1), 30u * kCluster);
  EXPECT_EQ(region.run(1).source(), 0u);
  EXPECT_EQ(region.run(2).source(), 1u);
  // What lies under the top's cluster is skipped in the file as well.
  EXPECT_EQ(region.run(2).host(), region.run(0).host() + 31 * kCluster);
  const Extent extent = region.ExtentAt(2, 40 * kCluster + 5);
  EXPECT_EQ(extent.host, region.run(0).host() + (40 * kCluster + 5));
  EXPECT_EQ(extent.length, 24u * kCluster - 5);
}

TEST_F(FlatIndexTest, StopsWhenNothingIsOpen) {
  chain_.Add(4 << 20, kCluster);
  FakeImage& base = AsFake(chain_.layers()[0]);
  chain_.Add(4 << 20, kCluster);
  for (uint64_t i = 0; i < 64; ++i) Data(i);
  Build();
  EXPECT_EQ(base.map_calls.load(), 0u);
}

TEST_F(FlatIndexTest, AShorterLayerHidesWhatLiesDeeper) {
  chain_.Add(4 << 20, kCluster);
  for (uint64_t i = 0; i < 64; ++i) Data(i);
  chain_.Add(1 << 20, kCluster);  // ends here
  chain_.Add(4 << 20, kCluster);
  const FlatRegion region = Build();
  ASSERT_EQ(region.size(), 2u);
  EXPECT_EQ(region.run(0).source(), 2u);
  EXPECT_EQ(region.BeginByte(1), 1u << 20);
  EXPECT_EQ(region.run(1).kind(), ExtentKind::kZero);
  EXPECT_EQ(region.run(1).source(), 1u);
}

TEST_F(FlatIndexTest, TheLastRegionEndsWithTheStack) {
  chain_.Add((4 << 20) + 1536, 512);
  const FlatRegion region = Build(1);
  EXPECT_EQ(region.EndByte(), 1536u);
}

TEST_F(FlatIndexTest, DeepAndFragmentedCostsOneQuestionAPiece) {
  // Each of 64 layers has one cluster of its own: every layer is asked about what is left at most
  // once a gap.
  for (uint64_t i = 0; i < 64; ++i) {
    chain_.Add(4 << 20, kCluster);
    Data((i * 37) % 64);
  }
  const FlatRegion region = Build();
  EXPECT_EQ(region.size(), 64u);
  uint64_t calls = 0;
  for (const LayerPtr& layer : chain_.layers()) calls += AsFake(layer).map_calls.load();
  EXPECT_LE(calls, 64u * 3);
}

TEST_F(FlatIndexTest, FindIsRightAtEveryByte) {
  Random random;
  chain_.AddRandom(random, 1 << 20, 512);
  chain_.AddRandom(random, 1 << 20, 4096);
  const FlatRegion region = Build();
  for (uint64_t byte = 0; byte < region.EndByte(); byte += random.Between(1, 300)) {
    const uint32_t run = region.Find(byte);
    ASSERT_LE(region.BeginByte(run), byte);
    ASSERT_GT(region.EndByte(run), byte);
  }
  // No two neighbours could be one.
  for (uint32_t i = 1; i < region.size(); ++i) {
    const FlatRun& a = region.run(i - 1);
    const FlatRun& b = region.run(i);
    if (a.kind() != b.kind() || a.source() != b.source()) continue;
    if (a.kind() == ExtentKind::kCompressed) continue;
    ASSERT_EQ(a.kind(), ExtentKind::kData);
    ASSERT_NE(a.host() + (region.BeginByte(i) - region.BeginByte(i - 1)), b.host());
  }
}

TEST_F(FlatIndexTest, ABadEntryFailsTheRegion) {
  chain_.Add(8 << 20, kCluster).PutBad(3);
  const Layers& layers = chain_.layers();
  EXPECT_EQ(BuildFlatRegion(layers, StackSources(layers), 8 << 20, 0).error().kind,
            ErrorKind::kCorrupt);
  EXPECT_TRUE(BuildFlatRegion(layers, StackSources(layers), 8 << 20, 1));
}

TEST_F(FlatIndexTest, TheCacheIsBoundedAndForgetsOwners) {
  Random random;
  chain_.AddRandom(random, 64 << 20, 4096);
  const Layers& layers = chain_.layers();
  constexpr uint64_t kLimit = 256 << 10;
  IndexCache cache(kLimit);
  const uint64_t owner = cache.NewOwner();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(cache.Get(owner, layers, StackSources(layers), 64 << 20, random.Below(16)));
    ASSERT_LE(cache.UsedBytes(), kLimit);
  }
  EXPECT_GT(cache.Regions(), 0u);
  cache.DropOwner(owner, 64 << 20);
  EXPECT_EQ(cache.Regions(), 0u);
  EXPECT_EQ(cache.UsedBytes(), 0u);
}

TEST_F(FlatIndexTest, OneThreadBuildsForAll) {
  FakeImage& image = chain_.Add(4 << 20, kCluster);
  std::atomic<int> started = 0;
  image.on_map = [&] {
    while (started != 4) std::this_thread::yield();
  };
  IndexCache cache(1 << 20);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      started.fetch_add(1);
      EXPECT_TRUE(cache.Get(1, chain_.layers(), StackSources(chain_.layers()), 4 << 20, 0));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(image.map_calls.load(), 1u);
  EXPECT_EQ(cache.misses(), 1u);
}

}  // namespace
}  // namespace chainfs
