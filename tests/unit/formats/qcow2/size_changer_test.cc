// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/size_changer.h"

#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class SizeChangerTest : public ClusterFixture {
 protected:
  static constexpr uint64_t kSize = 1 << 20;

  void SetUp() override {
    MakeAll();
    changer_ = std::make_unique<SizeChanger>(*all_, *populator_, *zeroer_);
  }
  uint64_t Size() { return all_->header().virtual_size(); }

  std::unique_ptr<SizeChanger> changer_;
};

TEST_F(SizeChangerTest, GivesBackWhatLiesBeyond) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(20 * kCluster, 7), nullptr));
  ASSERT_TRUE(all_->ledger().Commit());
  ASSERT_TRUE(changer_->Shrink(10 * kCluster));
  EXPECT_EQ(Size(), 10 * kCluster);
  EXPECT_EQ(MappingOf(9 * kCluster).kind, ClusterKind::kNormal);
  EXPECT_EQ(MappingOf(10 * kCluster).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(Shown(0, 10 * kCluster), Filled(10 * kCluster, 7));
  ASSERT_TRUE(all_->ledger().CommitAndRelease());
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 100)->count, 10u);
}

// The header first: what is given back can be read by nobody any more, also after a crash.
TEST_F(SizeChangerTest, TheSizeChangesBeforeAnythingGoes) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(20 * kCluster, 7), nullptr));
  ASSERT_TRUE(all_->ledger().Commit());
  StartLog();
  ASSERT_TRUE(changer_->Shrink(10 * kCluster));
  const Log log = TakeLog();
  ASSERT_GE(log.size(), 3u);
  EXPECT_EQ(log[0], "write 0");
  EXPECT_EQ(log[1], "sync");
}

// A crash after the header was changed leaves clusters beyond the end.
TEST_F(SizeChangerTest, WhatAnEarlierShrinkLeftDoesNotComeBack) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(20 * kCluster, 7), nullptr));
  ASSERT_TRUE(all_->ledger().Commit());
  ASSERT_TRUE(all_->header().SetVirtualSize(10 * kCluster));
  ASSERT_TRUE(changer_->Grow(kSize, nullptr, 0));
  EXPECT_EQ(Size(), kSize);
  EXPECT_EQ(Shown(10 * kCluster, 10 * kCluster), Filled(10 * kCluster, 0));
  const FullOf below(9);
  ASSERT_TRUE(all_->header().SetBacking(BackingReference{.name = "b.raw", .format = "raw"}));
  ASSERT_TRUE(all_->header().SetVirtualSize(5 * kCluster));
  ASSERT_TRUE(changer_->Grow(kSize, &below, 15 * kCluster));
  EXPECT_EQ(Shown(5 * kCluster, 10 * kCluster, &below), Filled(10 * kCluster, 0));
}

TEST_F(SizeChangerTest, AFailedHeaderChangeKeepsEverything) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(20 * kCluster, 7), nullptr));
  ASSERT_TRUE(all_->ledger().Commit());
  host_->AddFault({.matches = On(HostOp::kWrite)});
  EXPECT_FALSE(changer_->Shrink(10 * kCluster));
  EXPECT_EQ(Size(), kSize);
  EXPECT_EQ(Shown(10 * kCluster, 10 * kCluster), Filled(10 * kCluster, 7));
  EXPECT_TRUE(all_->failed()) << "what the header says is not known";
}

}  // namespace
}  // namespace chainfs::qcow2
