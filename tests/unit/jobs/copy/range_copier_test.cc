// SPDX-License-Identifier: Apache-2.0
//
// RangeCopier between random chains and a sink in memory.
#include "jobs/copy/range_copier.h"

#include <gtest/gtest.h>

#include "jobs/copy/stack_source.h"
#include "tests/support/effort.h"
#include "tests/unit/chain/fake_image.h"
#include "tests/unit/jobs/copy/memory_sink.h"

namespace chainfs::jobs {
namespace {

constexpr uint32_t kCluster = 4096;

class RangeCopierTest : public testing::Test {
 protected:
  std::shared_ptr<const LayerStack> Stack() {
    return LayerStack::Make(chain_.layers(), context_).value();
  }
  Buffer Bytes(std::byte value) { return Buffer(kCluster, value); }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
};

// In chunks, in any order, the same one twice now and then.
void CopyAll(Random& random, RangeCopier& copier, uint64_t size, uint64_t chunk) {
  std::vector<uint64_t> starts;
  for (uint64_t at = 0; at < size; at += chunk) starts.push_back(at);
  for (size_t i = starts.size(); i > 1; --i) std::swap(starts[i - 1], starts[random.Below(i)]);
  if (!starts.empty()) starts.push_back(starts.front());
  for (const uint64_t at : starts) {
    const uint64_t length = std::min(chunk, size - at);
    const ChunkResult planned = copier.Estimate(at, length);
    const ChunkResult copied = copier.Process(at, length);
    ASSERT_TRUE(planned);
    ASSERT_TRUE(copied) << copied.error().error.message;
    EXPECT_LE(*copied, *planned);
  }
}

TEST_F(RangeCopierTest, EverythingMakesTheSinkShowTheSource) {
  for (int round = 0; round < Effort(12); ++round) {
    const auto host = MemHost::Create();
    ChainBuilder chain(context_, *host);
    const auto size = [&] { return random_.Between(1, 3000) * 512; };
    if (random_.OneIn(2)) chain.AddRawBase(random_, size());
    const uint64_t depth = random_.Between(1, 5);
    while (chain.layers().size() < depth) {
      chain.AddRandom(random_, size(), 512u << random_.Below(8));
    }
    const StackSource source(LayerStack::Make(chain.layers(), context_).value());
    Buffer old(chain.shown().size());
    const bool known_zero = random_.OneIn(2);
    if (!known_zero) random_.Fill(old);
    MemorySink sink(old, 512u << random_.Below(8));
    sink.can_share = random_.OneIn(2);
    RangeCopier copier(source, sink, {.zeros_until = known_zero ? 0 : CopySelection::kEverywhere});
    CopyAll(random_, copier, old.size(), sink.cluster_size() * random_.Between(1, 40));
    ASSERT_TRUE(sink.bytes() == chain.shown()) << "round " << round;
  }
}

TEST_F(RangeCopierTest, TheUppermostLayersOverTheRestMakeTheWhole) {
  for (int round = 0; round < Effort(12); ++round) {
    const auto host = MemHost::Create();
    ChainBuilder chain(context_, *host);
    const uint64_t size = random_.Between(1, 3000) * 512;
    const uint64_t depth = random_.Between(2, 5);
    while (chain.layers().size() < depth) {
      chain.AddRandom(random_, size, 512u << random_.Below(8));
    }
    const auto upper = static_cast<uint32_t>(random_.Between(1, depth - 1));
    const Layers& all = chain.layers();
    const auto rest = LayerStack::Make(Layers(all.begin() + upper, all.end()), context_).value();
    Buffer base(size);
    ASSERT_TRUE(rest->ReadBelow(GuestOffset(0), base));
    const StackSource source(LayerStack::Make(all, context_).value());
    MemorySink sink(base, 512u << random_.Below(8));
    RangeCopier copier(source, sink, {.layers = upper});
    CopyAll(random_, copier, size, sink.cluster_size() * random_.Between(1, 40));
    ASSERT_TRUE(sink.bytes() == chain.shown()) << "round " << round;
  }
}

TEST_F(RangeCopierTest, EachClusterInTheCheapestWay) {
  chain_.Add(8 * kCluster, kCluster);
  chain_.FillData(0, Bytes(std::byte{1}));
  chain_.FillData(1, Bytes(std::byte{2}));
  chain_.FillZero(3);
  chain_.FillCompressed(4, Bytes(std::byte{4}));
  chain_.FillCompressed(5, Bytes(std::byte{0}));
  const StackSource source(Stack());
  MemorySink sink(Buffer(8 * kCluster, std::byte{0xEE}), kCluster);
  RangeCopier copier(source, sink, {});
  EXPECT_EQ(copier.Estimate(0, 8 * kCluster).value(), 4u * kCluster);
  EXPECT_EQ(copier.Process(0, 8 * kCluster).value(), 3u * kCluster);
  EXPECT_EQ(sink.done(), "sszzwzzz");
  EXPECT_EQ(sink.bytes(), chain_.shown());
}

TEST_F(RangeCopierTest, AFileThatRefusedToShareIsNotAskedAgain) {
  chain_.Add(4 * kCluster, kCluster);
  for (uint64_t i : {0u, 2u, 3u}) chain_.FillData(i, Bytes(std::byte{7}));
  const StackSource source(Stack());
  MemorySink sink(Buffer(4 * kCluster), kCluster);
  sink.can_share = false;
  RangeCopier copier(source, sink, {});
  EXPECT_EQ(copier.Process(0, kCluster).value(), uint64_t{kCluster});
  EXPECT_EQ(copier.Process(kCluster, 3 * kCluster).value(), 2u * kCluster);
  EXPECT_EQ(sink.refused_shares, 1);
  EXPECT_EQ(sink.done(), "wzww");
}

TEST_F(RangeCopierTest, SmallClustersAreNotWorthSharing) {
  chain_.Add(8 * 512, 512);
  for (uint64_t i : {0u, 2u, 4u}) chain_.FillData(i, Buffer(512, std::byte{7}));
  const StackSource source(Stack());
  MemorySink sink(Buffer(8 * 512), 512);
  RangeCopier copier(source, sink, {});
  EXPECT_EQ(copier.Process(0, 8 * 512).value(), 3u * 512);
  EXPECT_EQ(sink.done(), "wzwzwzzz");
}

TEST_F(RangeCopierTest, WhatTheSinkDoesNotTakeIsLeftAlone) {
  chain_.Add(4 * kCluster, kCluster);
  for (uint64_t i = 0; i < 4; ++i) chain_.FillData(i, Bytes(std::byte{7}));
  const StackSource source(Stack());
  MemorySink sink(Buffer(4 * kCluster), kCluster);
  sink.not_taken_before = 2 * kCluster;
  RangeCopier copier(source, sink, {});
  EXPECT_EQ(copier.Estimate(0, 4 * kCluster).value(), 2u * kCluster);
  EXPECT_EQ(copier.Process(0, 2 * kCluster).value(), 0u);
  EXPECT_EQ(copier.Process(0, 4 * kCluster).value(), 2u * kCluster);
  EXPECT_EQ(sink.done(), "..ss");
}

TEST_F(RangeCopierTest, AFailureSaysWhichSideItWas) {
  chain_.Add(4 * kCluster, kCluster);
  chain_.FillCompressed(0, Bytes(std::byte{7}));
  AsFake(chain_.layers().front()).PutBad(2);
  const StackSource source(Stack());
  MemorySink sink(Buffer(4 * kCluster), kCluster);
  RangeCopier copier(source, sink, {});
  const ChunkResult reading = copier.Process(2 * kCluster, kCluster);
  ASSERT_FALSE(reading);
  EXPECT_FALSE(reading.error().writing);
  EXPECT_FALSE(copier.Estimate(2 * kCluster, kCluster));
  sink.fail_writes = true;
  const ChunkResult writing = copier.Process(0, kCluster);
  ASSERT_FALSE(writing);
  EXPECT_TRUE(writing.error().writing);
  EXPECT_EQ(writing.error().error.kind, ErrorKind::kNoSpace);
  sink.fail_writes = false;
  EXPECT_TRUE(copier.Process(0, 2 * kCluster));
}

}  // namespace
}  // namespace chainfs::jobs
