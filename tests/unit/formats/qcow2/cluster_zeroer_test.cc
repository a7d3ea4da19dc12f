// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_zeroer.h"

#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ClusterZeroerTest : public ClusterFixture {
 protected:
  static constexpr uint64_t kSize = 1 << 20;

  void WriteAll(uint64_t clusters) {
    ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(clusters * kCluster, 9), nullptr));
  }
  void SetBacking() {
    ASSERT_TRUE(all_->header().SetBacking(BackingReference{.name = "b.raw", .format = "raw"}));
  }
};

TEST_F(ClusterZeroerTest, WholeClustersAreGivenBackAndTheRestWritten) {
  MakeAll();
  WriteAll(4);
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(100), 2 * kCluster, false, nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  EXPECT_EQ(MappingOf(kCluster).kind, ClusterKind::kZeroPlain);
  Bytes expected = Filled(4 * kCluster, 9);
  std::ranges::fill(std::span(expected).subspan(100, 2 * kCluster), std::byte{0});
  EXPECT_EQ(Shown(0, 4 * kCluster), expected);
}

TEST_F(ClusterZeroerTest, AcrossOneBoundaryNothingIsGivenBack) {
  MakeAll();
  WriteAll(2);
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(kCluster - 10), 20, false, nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  EXPECT_EQ(MappingOf(kCluster).kind, ClusterKind::kNormal);
  EXPECT_EQ(Shown(kCluster - 10, 20), Filled(20, 0));
  EXPECT_EQ(Shown(kCluster + 10, 10), Filled(10, 9));
}

TEST_F(ClusterZeroerTest, KeepsClustersForWhoWantsThem) {
  MakeAll();
  WriteAll(2);
  const HostOffset host = MappingOf(0).host;
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(0), kCluster, true, nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kZeroAllocated);
  EXPECT_EQ(MappingOf(0).host, host);
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kZeroPlain);
}

TEST_F(ClusterZeroerTest, DiscardLeavesPartsOfClusters) {
  MakeAll();
  WriteAll(3);
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(100), 2 * kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  EXPECT_EQ(MappingOf(kCluster).kind, ClusterKind::kZeroPlain);
  EXPECT_EQ(Shown(2 * kCluster, kCluster), Filled(kCluster, 9));
}

TEST_F(ClusterZeroerTest, OverABackingFileUnallocatedBecomesZero) {
  MakeAll();
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated) << "reads as zeros anyway";
  SetBacking();
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kZeroPlain);
}

TEST_F(ClusterZeroerTest, Version2OverABackingFileWritesZeroesAndDiscardsNothing) {
  MakeAll(2);
  SetBacking();
  WriteAll(2);
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(Shown(0, kCluster), Filled(kCluster, 9));
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(0), kCluster, false, nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  EXPECT_EQ(Shown(0, kCluster), Filled(kCluster, 0));
}

// Whoever reads goes on with the old list of layers for a moment after a stream.
TEST_F(ClusterZeroerTest, Version2ThatLostItsBackingFileStillWritesZeroes) {
  MakeAll(2, true);
  WriteAll(1);
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(Shown(0, kCluster), Filled(kCluster, 9));
}

TEST_F(ClusterZeroerTest, WhatGrowingExposesIsHidden) {
  MakeAll();
  SetBacking();
  const FullOf below(7);
  ASSERT_TRUE(all_->GrowL1For(2 * kSize));
  ASSERT_TRUE(zeroer_->ZeroExposed(kSize, 2 * kSize, &below, kSize + 10 * kCluster + 1));
  ASSERT_TRUE(all_->header().SetVirtualSize(2 * kSize));
  EXPECT_EQ(MappingOf(kSize - kCluster).kind, ClusterKind::kUnallocated) << "shown before";
  EXPECT_EQ(MappingOf(kSize).kind, ClusterKind::kZeroPlain);
  EXPECT_EQ(MappingOf(kSize + 10 * kCluster).kind, ClusterKind::kZeroPlain);
  EXPECT_EQ(MappingOf(kSize + 11 * kCluster).kind, ClusterKind::kUnallocated);
}

}  // namespace
}  // namespace chainfs::qcow2
