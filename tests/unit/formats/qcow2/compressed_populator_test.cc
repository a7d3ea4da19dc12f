// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/compressed_populator.h"

#include "tests/support/compressed.h"
#include "tests/support/random.h"
#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class CompressedPopulatorTest : public ClusterFixture {
 protected:
  void MakePopulator(uint32_t refcount_order = 4) {
    MakeAll(3, false, refcount_order);
    populator_ = std::make_unique<CompressedPopulator>(*file_, *all_, *ClusterFixture::populator_,
                                                       range_lock_, kCompressionZlib);
  }
  // Compresses to more than half a cluster.
  static Bytes Contents(uint64_t number) {
    Bytes bytes(kCluster, std::byte{0});
    Random random(number + 1);
    random.Fill(std::span(bytes).first(300));
    return bytes;
  }
  // Guest clusters with these numbers.
  Status Populate(const std::vector<uint64_t>& numbers) {
    std::vector<Bytes> bytes;
    std::vector<CompressedCluster> clusters;
    for (const uint64_t number : numbers) {
      bytes.push_back(CompressForTest(ImageCompression::kZlib, Contents(number)));
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      clusters.push_back({GuestOffset(numbers[i] * kCluster), bytes[i]});
    }
    return populator_->Populate(clusters);
  }
  uint64_t Refcount(uint64_t cluster) {
    // On disk only after a commit.
    EXPECT_TRUE(all_->ledger().Commit());
    return RefcountOnDisk(cluster);
  }

  std::unique_ptr<CompressedPopulator> populator_;
};

TEST_F(CompressedPopulatorTest, TheyLieTogetherAndEachCounts) {
  MakePopulator();
  ASSERT_TRUE(Populate({0, 1, 2, 9}));
  for (const uint64_t number : {0u, 1u, 2u, 9u}) {
    EXPECT_EQ(MappingOf(number * kCluster).kind, ClusterKind::kCompressed);
    EXPECT_EQ(Shown(number * kCluster, kCluster), Contents(number)) << number;
  }
  EXPECT_EQ(MappingOf(3 * kCluster).kind, ClusterKind::kUnallocated);
  // Some 320 bytes each: four of them in three clusters.
  EXPECT_EQ(MappingOf(0).host, HostOffset(kFirstFree * kCluster));
  EXPECT_EQ(Refcount(kFirstFree), 2u);
  EXPECT_EQ(Refcount(kFirstFree + 1), 3u);
  EXPECT_EQ(Refcount(kFirstFree + 2), 1u);
}

TEST_F(CompressedPopulatorTest, WhatIsAllocatedIsLeftAlone) {
  MakePopulator();
  ASSERT_TRUE(writer_->Write(GuestOffset(kCluster), Filled(kCluster, 9), nullptr));
  ASSERT_TRUE(Populate({0, 1, 2}));
  EXPECT_EQ(Shown(kCluster, kCluster), Filled(kCluster, 9));
  EXPECT_EQ(Shown(2 * kCluster, kCluster), Contents(2));
  StartLog();
  ASSERT_TRUE(Populate({0, 1, 2}));
  EXPECT_EQ(TakeLog(), Log());
}

// Q2-12.
TEST_F(CompressedPopulatorTest, NeverWhereSomethingWas) {
  MakePopulator();
  ASSERT_TRUE(Populate({0}));
  const HostOffset first = MappingOf(0).host;
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  ASSERT_TRUE(all_->ledger().CommitAndRelease());
  EXPECT_EQ(Refcount(all_->geometry().ClusterOf(first)), 0u);
  ASSERT_TRUE(Populate({1}));
  EXPECT_GE(MappingOf(kCluster).host, first + kCluster);
  // The space is there for others.
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 1)->first, all_->geometry().ClusterOf(first));
}

TEST_F(CompressedPopulatorTest, SharedHostClustersLiveUntilTheLastOneGoes) {
  MakePopulator();
  ASSERT_TRUE(Populate({0, 1}));
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 9), nullptr));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(all_->ledger().Commit());
  EXPECT_EQ(Refcount(kFirstFree), 1u);
  EXPECT_EQ(Shown(kCluster, kCluster), Contents(1));
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(kCluster), kCluster));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(all_->ledger().Commit());
  EXPECT_EQ(Refcount(kFirstFree), 0u);
}

TEST_F(CompressedPopulatorTest, WithRefcountsOfOneBitNothingIsShared) {
  MakePopulator(0);
  ASSERT_TRUE(Populate({0, 1, 2}));
  for (const uint64_t number : {0u, 1u, 2u}) {
    EXPECT_EQ(MappingOf(number * kCluster).host.Within(kCluster), 0u);
    EXPECT_EQ(Shown(number * kCluster, kCluster), Contents(number));
  }
}

// Q2-8.
TEST_F(CompressedPopulatorTest, WhatCannotBeWrittenIsNotLinkedAndGivenBack) {
  MakePopulator();
  host_->AddFault({.matches = On(HostOp::kWrite), .error = ENOSPC});
  const Status populated = Populate({0, 1, 2});
  ASSERT_FALSE(populated);
  EXPECT_EQ(populated.error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated);
  for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(Refcount(kFirstFree + i), 0u) << i;
}

TEST_F(CompressedPopulatorTest, WhatCannotBeLinkedIsGivenBack) {
  MakePopulator();
  ASSERT_TRUE(Populate({0, 1}));
  host_->AddFault({.matches = On(HostOp::kZero), .error = ENOSPC});
  // The table for the second one cannot be made.
  const Status populated = Populate({2, 64});
  ASSERT_FALSE(populated);
  EXPECT_EQ(MappingOf(64 * kCluster).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(MappingOf(2 * kCluster).kind, ClusterKind::kCompressed);
  EXPECT_EQ(Shown(2 * kCluster, kCluster), Contents(2));
  EXPECT_EQ(Refcount(all_->geometry().ClusterOf(MappingOf(2 * kCluster).host)), 1u);
}

TEST_F(CompressedPopulatorTest, RefusesWhatMakesNoSense) {
  MakePopulator();
  const Bytes bytes(kCluster);
  const auto refused = [&](uint64_t offset, uint64_t length) {
    const CompressedCluster cluster{GuestOffset(offset), std::span(bytes).first(length)};
    const Status populated = populator_->Populate(std::span(&cluster, 1));
    return !populated && populated.error().kind == ErrorKind::kInvalidArgument;
  };
  EXPECT_TRUE(refused(0, 0));
  EXPECT_TRUE(refused(0, kCluster));
  EXPECT_TRUE(refused(100, 100));
  EXPECT_TRUE(refused(1 << 20, 100));
  EXPECT_FALSE(Populate({1, 0}));
  EXPECT_FALSE(Populate({1, 1}));
}

}  // namespace
}  // namespace chainfs::qcow2
