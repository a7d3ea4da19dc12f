// SPDX-License-Identifier: Apache-2.0
//
// LayerStack against a plain buffer: random chains, any depth, any sizes, any memory.
#include "blocklayer/chain/layer_stack.h"

#include <gtest/gtest.h>

#include <chrono>
#include <climits>
#include <iostream>
#include <thread>

#include "blocklayer/cache/decoded_cache.h"
#include "blocklayer/chain/flat_index.h"
#include "blocklayer/chain/stack_registry.h"
#include "blocklayer/io/posix.h"
#include "tests/support/effort.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr MemoryLimits kNoMemory{.index_bytes = 0, .metadata_bytes = 0, .decoded_bytes = 0};

// Reads at random places, aligned or not, also past the end.
void VerifyReads(const LayerStack& stack, const Buffer& shown, Random& random, int reads) {
  ASSERT_EQ(stack.size(), shown.size());
  for (int i = 0; i < reads; ++i) {
    const uint64_t at = random.Below(shown.size() + 5000);
    Buffer out(random.OneIn(4) ? random.Between(1, 3 << 20) : random.Between(1, 20'000),
               std::byte{0xEE});
    ASSERT_TRUE(stack.ReadBelow(GuestOffset(at), out));
    Buffer expected(out.size());
    if (at < shown.size()) {
      const uint64_t part = std::min<uint64_t>(out.size(), shown.size() - at);
      std::ranges::copy(std::span(shown).subspan(at, part), expected.begin());
    }
    ASSERT_EQ(out, expected) << "offset " << at << ", length " << out.size();
  }
}

// Walks the stack by its extents from `at` on and reads each from the layer that it names.
void VerifyMap(const LayerStack& stack, const Buffer& shown, Random& random, uint64_t at = 0,
               int steps = INT_MAX) {
  for (; at < shown.size() && steps > 0; --steps) {
    const uint64_t wanted = random.OneIn(2)
                                ? shown.size() - at
                                : std::min(shown.size() - at, random.Between(1, 300'000));
    const auto extent = stack.Map(GuestOffset(at), wanted, MapDetail::kFast);
    ASSERT_TRUE(extent);
    ASSERT_GT(extent->length, 0u);
    ASSERT_LE(extent->length, wanted);
    Buffer out(extent->length);
    if (extent->kind == ExtentKind::kData) {
      Image& image = *stack.layers().at(extent->layer)->image;
      ASSERT_TRUE(image.file().ReadZeroFilled(extent->host, out));
    } else if (extent->kind == ExtentKind::kCompressed) {
      Image& image = *stack.layers().at(extent->layer)->image;
      Buffer cluster(image.cluster_size());
      ASSERT_TRUE(image.ReadCompressed({.kind = extent->kind,
                                        .length = extent->length,
                                        .host = extent->host,
                                        .compressed_bytes = extent->compressed_bytes},
                                       cluster));
      ASSERT_LE(at % cluster.size() + out.size(), cluster.size());
      std::ranges::copy(std::span(cluster).subspan(at % cluster.size(), out.size()), out.begin());
    }
    ASSERT_TRUE(std::ranges::equal(out, std::span(shown).subspan(at, out.size()))) << at;
    at += extent->length;
  }
}

TEST(LayerStackTest, RandomChainsShowWhatTheModelShows) {
  Random random;
  for (int round = 0; round < Effort(16); ++round) {
    const auto host = MemHost::Create();
    BlockContext context(random.OneIn(3) ? kNoMemory
                                         : MemoryLimits{.index_bytes = random.Between(1, 200'000)});
    ChainBuilder chain(context, *host);
    const uint64_t depth = random.Between(1, 8);
    const bool raw_base = random.OneIn(2);
    const uint64_t unit = 512ull << random.Below(5);
    const auto size = [&] { return random.Between(1, 5'500'000 / unit) * unit; };
    if (raw_base) chain.AddRawBase(random, size() + random.Below(512));
    while (chain.layers().size() < depth) {
      chain.AddRandom(random, size(), 512u << random.Below(9));
    }
    const auto stack = LayerStack::Make(chain.layers(), context).value();
    // With no room for the index each step builds a region anew: a few will do.
    for (int i = 0; i < 4; ++i) {
      VerifyMap(*stack, chain.shown(), random, random.Below(chain.shown().size()), 200);
    }
    VerifyReads(*stack, chain.shown(), random, 40);
    if (testing::Test::HasFatalFailure()) FAIL() << "round " << round;
  }
}

TEST(LayerStackTest, PastTheEndIsZeros) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  chain.Add(8192, 4096);
  chain.FillData(1, Buffer(4096, std::byte{5}));
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer out(8192, std::byte{9});
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(4096), out));
  EXPECT_EQ(out[4095], std::byte{5});
  EXPECT_EQ(out[4096], std::byte{0});
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(UINT64_MAX - 10'000), out));
  EXPECT_EQ(out[0], std::byte{0});
  const StackExtent extent = stack->Map(GuestOffset(8192), 1 << 30, MapDetail::kFast).value();
  EXPECT_EQ(extent.kind, ExtentKind::kZero);
  EXPECT_EQ(extent.length, 1u << 30);
  EXPECT_TRUE(stack->ReadBelow(GuestOffset(0), {}));
}

TEST(LayerStackTest, DepthOneThousand) {
  Random random;
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  constexpr uint64_t kSize = 16 << 20;
  constexpr uint32_t kCluster = 65536;
  for (int i = 0; i < 1000; ++i) {
    chain.Add(kSize, kCluster);
    Buffer bytes(kCluster);
    random.Fill(bytes);
    chain.FillData(random.Below(kSize / kCluster), bytes);
  }
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  VerifyReads(*stack, chain.shown(), random, 100);
  VerifyMap(*stack, chain.shown(), random);
  // Warm: no layer is asked any more.
  uint64_t before = 0;
  for (const LayerPtr& layer : chain.layers()) before += AsFake(layer).map_calls.load();
  VerifyReads(*stack, chain.shown(), random, 100);
  uint64_t after = 0;
  for (const LayerPtr& layer : chain.layers()) after += AsFake(layer).map_calls.load();
  EXPECT_EQ(after, before);
}

TEST(LayerStackTest, EmptySpaceIsCrossedInGreatSteps) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  constexpr uint64_t kSize = 1ull << 40;
  constexpr uint32_t kCluster = 2 << 20;
  Layers layers;
  for (int i = 0; i < 10; ++i) {
    const std::string name = "layer" + std::to_string(i);
    layers.push_back(MakeLayer(
        context, name, std::make_unique<FakeImage>(NewMemFile(*host, name), kSize, kCluster)));
  }
  AsFake(layers[9]).PutData(400'000, Buffer(kCluster, std::byte{1}));
  const auto stack = LayerStack::Make(layers, context).value();
  int steps = 0;
  uint64_t data = 0;
  for (uint64_t at = 0; at < kSize; ++steps) {
    const StackExtent extent = stack->Map(GuestOffset(at), kSize - at, MapDetail::kPrecise).value();
    if (extent.kind == ExtentKind::kData) data += extent.length;
    at += extent.length;
  }
  EXPECT_EQ(data, 2u << 20);
  EXPECT_LE(steps, 5);
}

TEST(LayerStackTest, TheSameLayersShareOneStack) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  chain.Add(8 << 20, 4096);
  chain.Add(8 << 20, 4096);
  auto one = LayerStack::Make(chain.layers(), context).value();
  auto two = LayerStack::Make(chain.layers(), context).value();
  EXPECT_EQ(one, two);
  EXPECT_NE(one, LayerStack::Make({chain.layers()[1]}, context).value());
  EXPECT_EQ(context.stacks().size(), 1u);
  Buffer out(10);
  ASSERT_TRUE(one->ReadBelow(GuestOffset(0), out));
  EXPECT_EQ(context.index().Regions(), 1u);
  one.reset();
  EXPECT_EQ(context.stacks().size(), 1u);
  two.reset();
  EXPECT_EQ(context.stacks().size(), 0u);
  EXPECT_EQ(context.index().Regions(), 0u);
}

TEST(LayerStackTest, StacksAreMadeAndDroppedByManyThreads) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  chain.Add(8 << 20, 4096);
  chain.FillData(5, Buffer(4096, std::byte{5}));
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < Effort(500); ++round) {
        const auto stack = LayerStack::Make(chain.layers(), context).value();
        Buffer out(1);
        EXPECT_TRUE(stack->ReadBelow(GuestOffset(5 * 4096), out));
        EXPECT_EQ(out[0], std::byte{5});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(context.stacks().size(), 0u);
}

TEST(LayerStackTest, OnlyWhatIsBadFails) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  chain.Add(4 << 20, 65536);
  for (uint64_t i = 0; i < 64; ++i) chain.FillData(i, Buffer(65536, std::byte{3}));
  AsFake(chain.layers()[0]).PutBad(20);
  chain.Add(4 << 20, 65536);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer out(65536);
  for (uint64_t i = 0; i < 64; ++i) {
    const Status read = stack->ReadBelow(GuestOffset(i * 65536), out);
    EXPECT_EQ(read.has_value(), i != 20) << i;
    EXPECT_EQ(stack->Map(GuestOffset(i * 65536), 65536, MapDetail::kFast).has_value(), i != 20);
  }
  Buffer all(4 << 20);
  EXPECT_EQ(stack->ReadBelow(GuestOffset(0), all).error().kind, ErrorKind::kCorrupt);
}

TEST(LayerStackTest, AFailedBuildingIsTriedAgain) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  Random random;
  ChainBuilder chain(context, *host);
  chain.AddRawBase(random, 1 << 20);
  chain.Add(1 << 20, 65536);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer out(4096);
  host->AddFault({.matches = On(HostOp::kRunAt), .forever = true});
  EXPECT_FALSE(stack->ReadBelow(GuestOffset(0), out));
  EXPECT_EQ(context.index().Regions(), 0u);
  host->ClearFaults();
  VerifyReads(*stack, chain.shown(), random, 20);
}

TEST(LayerStackTest, AdjacentDataIsOneRead) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  chain.Add(16 << 20, 65536);
  for (uint64_t i = 0; i < 256; ++i) chain.FillData(i, Buffer(65536, std::byte{3}));
  chain.Add(16 << 20, 65536);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  std::atomic<int> reads = 0;
  host->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kRead) reads.fetch_add(1);
    return 0;
  });
  Buffer out(9 << 20);  // across two ends of regions
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(3 << 20), out));
  EXPECT_EQ(reads.load(), 1);
}

TEST(LayerStackTest, HolesOfARawBaseAreNotRead) {
  const TempDir temp;
  const auto directory = OpenPosixDirectory(temp.path()).value();
  auto file = directory->Create("base.raw", 0644).value();
  ASSERT_TRUE(file->Truncate(64 << 20));
  ASSERT_TRUE(file->WriteAt(HostOffset(32 << 20), Buffer(1 << 20, std::byte{8})));
  BlockContext context{MemoryLimits{}};
  const Layers layers = {
      MakeLayer(context, "base.raw", raw::OpenRawImage(std::move(file), true).value())};
  const auto stack = LayerStack::Make(layers, context).value();
  const StackExtent hole = stack->Map(GuestOffset(0), 64 << 20, MapDetail::kPrecise).value();
  EXPECT_EQ(hole.kind, ExtentKind::kZero);
  EXPECT_EQ(hole.length, 32u << 20);
  Buffer out(2 << 20);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(32 << 20), out));
  EXPECT_EQ(out[(1 << 20) - 1], std::byte{8});
  EXPECT_EQ(out[1 << 20], std::byte{0});
}

TEST(LayerStackTest, ManyThreadsReadRightWithLittleMemory) {
  Random random;
  const auto host = MemHost::Create();
  BlockContext context({.index_bytes = 40'000, .metadata_bytes = 0, .decoded_bytes = 20'000});
  ChainBuilder chain(context, *host);
  chain.AddRawBase(random, 20 << 20);
  for (int i = 0; i < 5; ++i) chain.AddRandom(random, 20 << 20, 16384);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(
        [&, mine = random.Fork()]() mutable { VerifyReads(*stack, chain.shown(), mine, 100); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(context.index().UsedBytes(), 40'000u);
  EXPECT_LE(context.decoded().UsedBytes(), 20'000u);
}

// A stream fills the top of a stack while others read through it.
TEST(LayerStackTest, PopulatingALayerChangesNothing) {
  Random random;
  const auto host = MemHost::Create();
  BlockContext context({.index_bytes = 20'000});
  ChainBuilder chain(context, *host);
  constexpr uint64_t kSize = 12 << 20;
  constexpr uint32_t kCluster = 16384;
  for (int i = 0; i < 4; ++i) chain.AddRandom(random, kSize, kCluster);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, mine = random.Fork()]() mutable {
      while (!stop) VerifyReads(*stack, chain.shown(), mine, 5);
    });
  }
  WritableImage& top = *chain.layers()[0]->image->writer();
  for (uint64_t at = 0; at < kSize; at += kCluster) {
    ASSERT_TRUE(top.Populate(GuestOffset(at), std::span(chain.shown()).subspan(at, kCluster)));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// The old place of what a job moves is given away only after DropRegions: nobody reads it there.
TEST(LayerStackTest, NobodyReadsAPlaceThatWasDropped) {
  constexpr uint32_t kCluster = 4096;
  constexpr uint64_t kSize = 8 << 20;
  Random random;
  const std::shared_ptr<MemHost> host = MemHost::Create();
  BlockContext context(MemoryLimits{});
  ChainBuilder chain(context, *host);
  FakeImage& base = chain.Add(kSize, kCluster);
  for (uint64_t cluster = 0; cluster < kSize / kCluster; ++cluster) {
    Buffer bytes(kCluster);
    random.Fill(bytes);
    chain.FillData(cluster, bytes);
  }
  chain.Add(kSize, kCluster);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer all(kSize);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all)) << "the index is there";
  std::atomic<bool> stop = false;
  std::atomic<int> rounds = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, mine = random.Fork()]() mutable {
      for (; !stop; ++rounds) VerifyReads(*stack, chain.shown(), mine, 5);
    });
  }
  const Layer& layer = *chain.layers()[1];
  const Buffer garbage(kCluster, std::byte{0xEE});
  for (int i = 0; i < 150 || rounds < 60; ++i) {
    const uint64_t at = random.Below(kSize / kCluster) * kCluster;
    const Extent old = base.Map(GuestOffset(at), kCluster, MapDetail::kFast).value();
    base.PutData(at / kCluster, std::span(chain.shown()).subspan(at, kCluster));
    const auto stacks = context.stacks().StacksOf(layer);
    ASSERT_EQ(stacks.size(), 1u);
    stacks[0]->DropRegions(GuestOffset(at), kCluster);
    ASSERT_TRUE(base.file().WriteAt(old.host, garbage));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  VerifyReads(*stack, chain.shown(), random, 100);
}

TEST(LayerStackTest, DroppingForgetsThatRangeAlone) {
  constexpr uint32_t kCluster = 4096;
  constexpr uint64_t kSize = 4 * FlatRegion::kBytes;
  const std::shared_ptr<MemHost> host = MemHost::Create();
  BlockContext context(MemoryLimits{});
  ChainBuilder chain(context, *host);
  chain.Add(kSize, kCluster);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer all(kSize);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all));
  ASSERT_EQ(context.index().Regions(), 4u);
  stack->DropRegions(GuestOffset(kSize), 1);
  stack->DropRegions(GuestOffset(0), 0);
  EXPECT_EQ(context.index().Regions(), 4u);
  stack->DropRegions(GuestOffset(FlatRegion::kBytes - 1), 2);
  EXPECT_EQ(context.index().Regions(), 2u);
  stack->DropRegions(GuestOffset(0), UINT64_MAX);
  EXPECT_EQ(context.index().Regions(), 0u);
}

// A commit enlarges its base, which other disks may show as the top of a stack.
TEST(LayerStackTest, GrowsWithItsUppermostLayer) {
  constexpr uint32_t kCluster = 4096;
  constexpr uint64_t kOld = FlatRegion::kBytes + FlatRegion::kBytes / 2;
  constexpr uint64_t kNew = 2 * FlatRegion::kBytes + kCluster;
  const std::shared_ptr<MemHost> host = MemHost::Create();
  BlockContext context(MemoryLimits{});
  ChainBuilder chain(context, *host);
  FakeImage& top = chain.Add(kOld, kCluster);
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  Buffer shown(kNew);
  const auto verify = [&] {
    ASSERT_EQ(stack->size(), kNew);
    Buffer read(kNew + 512, std::byte{0xEE});
    ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), read));
    read.resize(kNew);
    ASSERT_EQ(read, shown);
    Random random;
    VerifyMap(*stack, shown, random);
  };
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), std::span(shown).first(kOld)))
      << "the index is there";
  ASSERT_TRUE(top.Grow(kNew, nullptr, 0));
  std::ranges::fill(std::span(shown).subspan(kOld), std::byte{0x5A});
  ASSERT_TRUE(top.Write(GuestOffset(kOld), std::span(shown).subspan(kOld), nullptr));
  verify();
  stack->DropRegions(GuestOffset(kOld), kNew - kOld);
  verify();
}

// Tells how fast it is; passes whatever the time.
TEST(LayerStackTest, LookUpRate) {
  Random random;
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain(context, *host);
  constexpr uint64_t kSize = 256 << 20;
  for (int i = 0; i < 512; ++i) {
    chain.Add(kSize, 65536);
    chain.FillData(random.Below(kSize / 65536), Buffer(65536));
  }
  const auto stack = LayerStack::Make(chain.layers(), context).value();
  for (uint64_t at = 0; at < kSize; at += FlatRegion::kBytes) {
    ASSERT_TRUE(stack->Map(GuestOffset(at), 4096, MapDetail::kFast));
  }
  constexpr int kLookUps = 300'000;
  uint64_t sum = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kLookUps; ++i) {
    sum +=
        stack->Map(GuestOffset(random.Below(kSize / 4096) * 4096), 4096, MapDetail::kFast)->length;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(sum, 0u);
  std::cout << "[ rate     ] " << static_cast<int>(kLookUps / took.count() / 1000)
            << " k warm look-ups a second at depth 512\n";
  RecordProperty("lookups_per_second", static_cast<int>(kLookUps / took.count()));
}

}  // namespace
}  // namespace chainfs
