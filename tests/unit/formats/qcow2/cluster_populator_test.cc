// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_populator.h"

#include <utility>

#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ClusterPopulatorTest : public ClusterFixture {};

TEST_F(ClusterPopulatorTest, WhatIsAllocatedIsLeftAlone) {
  MakeAll();
  ASSERT_TRUE(writer_->Write(GuestOffset(2 * kCluster), Filled(kCluster, 1), nullptr));
  ASSERT_TRUE(populator_->PopulateZeroes(GuestOffset(7 * kCluster), kCluster));
  ASSERT_TRUE(populator_->Populate(GuestOffset(0), Filled(10 * kCluster, 2)));
  Bytes expected = Filled(10 * kCluster, 2);
  std::ranges::fill(std::span(expected).subspan(2 * kCluster, kCluster), std::byte{1});
  std::ranges::fill(std::span(expected).subspan(7 * kCluster, kCluster), std::byte{0});
  // Without a backing file, what reads as zeros anyway need not say so.
  std::ranges::fill(
      std::span(expected).subspan(5 * kCluster, kCluster),
      MappingOf(5 * kCluster).kind == ClusterKind::kNormal ? std::byte{2} : std::byte{0});
  EXPECT_EQ(Shown(0, 10 * kCluster), expected);
}

TEST_F(ClusterPopulatorTest, ZeroesAreEntriesInVersion3AndBytesInVersion2) {
  MakeAll(3);
  StartLog();
  ASSERT_TRUE(populator_->PopulateZeroes(GuestOffset(0), 20 * kCluster));
  EXPECT_EQ(MappingOf(19 * kCluster).kind, ClusterKind::kZeroPlain);
  const Log log = TakeLog();
  EXPECT_EQ(log.size(), 1u) << "the L2 table alone is zeroed";
}

TEST_F(ClusterPopulatorTest, Version2WritesZeroes) {
  MakeAll(2);
  ASSERT_TRUE(populator_->PopulateZeroes(GuestOffset(0), 20 * kCluster));
  EXPECT_EQ(MappingOf(19 * kCluster).kind, ClusterKind::kNormal);
  EXPECT_EQ(Shown(0, 20 * kCluster), Filled(20 * kCluster, 0));
}

TEST_F(ClusterPopulatorTest, Version2EndsWhenTheImageTurnsOutCorrupt) {
  MakeAll(2);
  ASSERT_TRUE(all_->GrowL1For(16 << 20));
  ASSERT_TRUE(all_->header().SetVirtualSize(16 << 20));
  bool marked = false;
  host_->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kWrite && !std::exchange(marked, true)) all_->MarkCorrupt("it is bad");
    return 0;
  });
  const Status populated = populator_->PopulateZeroes(GuestOffset(0), 8 << 20);
  ASSERT_FALSE(populated);
  EXPECT_EQ(populated.error().kind, ErrorKind::kReadOnly);
  EXPECT_EQ(populated.error().message, "/mem/a.qcow2: cannot be written: it is bad");
  EXPECT_EQ(MappingOf(4 << 20).kind, ClusterKind::kUnallocated);
}

TEST_F(ClusterPopulatorTest, CopiesFromAFile) {
  MakeAll();
  host_->PutFile("b.raw", Filled(8 * kCluster, 5));
  const auto source = *host_->OpenRoot()->Open("b.raw", OpenMode::kReadOnly);
  ASSERT_TRUE(writer_->Write(GuestOffset(kCluster), Filled(kCluster, 1), nullptr));
  ASSERT_TRUE(populator_->PopulateFromFile(GuestOffset(0), 4 * kCluster, *source,
                                           HostOffset(2 * kCluster)));
  EXPECT_EQ(Shown(0, kCluster), Filled(kCluster, 5));
  EXPECT_EQ(Shown(kCluster, kCluster), Filled(kCluster, 1));
  EXPECT_EQ(Shown(2 * kCluster, 2 * kCluster), Filled(2 * kCluster, 5));
}

// Q2-8.
TEST_F(ClusterPopulatorTest, WhatCannotBeFilledIsNotLinked) {
  MakeAll();
  host_->AddFault({.matches = On(HostOp::kWrite), .error = ENOSPC});
  const Status populated = populator_->Populate(GuestOffset(0), Filled(4 * kCluster, 2));
  ASSERT_FALSE(populated);
  EXPECT_EQ(populated.error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 1)->first, kFirstFree);
}

TEST_F(ClusterPopulatorTest, UnpopulatedIsWhatLiesBelow) {
  MakeAll();
  const FullOf below(7);
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(6 * kCluster, 7), nullptr));
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(6 * kCluster), kCluster, true, nullptr));
  ASSERT_TRUE(populator_->Unpopulate(GuestOffset(kCluster), 6 * kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  for (uint64_t i = 1; i < 7; ++i) {
    EXPECT_EQ(MappingOf(i * kCluster).kind, ClusterKind::kUnallocated) << i;
  }
  EXPECT_EQ(Shown(0, 7 * kCluster, &below), Filled(7 * kCluster, 7));
  ASSERT_TRUE(all_->ledger().CommitAndRelease());
  // The first cluster stays.
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 100)->first, kFirstFree + 1);
}

TEST_F(ClusterPopulatorTest, NoTableIsMadeToUnpopulate) {
  MakeAll();
  StartLog();
  ASSERT_TRUE(populator_->Unpopulate(GuestOffset(0), 1 << 20));
  ASSERT_TRUE(all_->ledger().Commit());
  EXPECT_EQ(TakeLog(), Log{"sync"});
}

// Q2-11.
TEST_F(ClusterPopulatorTest, AGuardFromBeforeKeepsTheOldPlaces) {
  MakeAll();
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 7), nullptr));
  ASSERT_TRUE(all_->ledger().Commit());
  const HostOffset old = MappingOf(0).host;
  Bytes there(kCluster);
  {
    const IoEpoch::Guard guard = epoch_.Enter();
    ASSERT_TRUE(populator_->Unpopulate(GuestOffset(0), kCluster));
    for (int i = 0; i < 5; ++i) {
      // Others come and go.
      const IoEpoch::Guard other = epoch_.Enter();
      ASSERT_TRUE(all_->ledger().Commit());
      EXPECT_NE(all_->geometry().HostOf(all_->clusters().Allocate(GuestOffset(0), 1)->first), old);
    }
    ASSERT_TRUE(file_->ReadZeroFilled(old, there));
    EXPECT_EQ(there, Filled(kCluster, 7));
    EXPECT_TRUE(all_->ledger().HasPending());
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(all_->ledger().Commit());
  ASSERT_TRUE(file_->ReadZeroFilled(old, there));
  EXPECT_EQ(there, Filled(kCluster, 0)) << "given back to the host";
  EXPECT_EQ(all_->geometry().HostOf(all_->clusters().Allocate(GuestOffset(0), 1)->first), old);
}

}  // namespace
}  // namespace chainfs::qcow2
