// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_writer.h"

#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ClusterWriterTest : public ClusterFixture {
 protected:
  void SetUp() override { MakeAll(); }
  uint64_t Refcount(HostOffset host) {
    return all_->ledger().Commit() ? RefcountOnDisk(all_->geometry().ClusterOf(host)) : 99;
  }
};

TEST_F(ClusterWriterTest, AFreshClusterIsFilledWithWhatItShowed) {
  const FullOf below(7);
  ASSERT_TRUE(writer_->Write(GuestOffset(kCluster + 100), Filled(200, 1), &below));
  Bytes expected = Filled(kCluster, 7);
  std::ranges::fill(std::span(expected).subspan(100, 200), std::byte{1});
  EXPECT_EQ(Shown(kCluster, kCluster), expected);
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(MappingOf(2 * kCluster).kind, ClusterKind::kUnallocated);
}

TEST_F(ClusterWriterTest, SeveralClustersShareHeadAndTail) {
  const FullOf below(7);
  ASSERT_TRUE(writer_->Write(GuestOffset(100), Filled(2 * kCluster, 1), &below));
  Bytes expected = Filled(3 * kCluster, 7);
  std::ranges::fill(std::span(expected).subspan(100, 2 * kCluster), std::byte{1});
  EXPECT_EQ(Shown(0, 3 * kCluster), expected);
  EXPECT_EQ(MappingOf(2 * kCluster).host, MappingOf(0).host + 2 * kCluster) << "contiguous";
}

TEST_F(ClusterWriterTest, InPlaceIsOneWrite) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(4 * kCluster, 1), nullptr));
  const HostOffset host = MappingOf(0).host;
  StartLog();
  ASSERT_TRUE(writer_->Write(GuestOffset(100), Filled(3 * kCluster, 2), nullptr));
  EXPECT_EQ(TakeLog(), (Log{"write " + std::to_string(host.value + 100)}));
  EXPECT_EQ(MappingOf(0).host, host);
}

TEST_F(ClusterWriterTest, AZeroClusterThatKeepsItsPlaceIsUsedAgain) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 9), nullptr));
  const HostOffset host = MappingOf(0).host;
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(0), kCluster, true, nullptr));
  ASSERT_TRUE(writer_->Write(GuestOffset(10), Filled(10, 1), nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kNormal);
  EXPECT_EQ(MappingOf(0).host, host);
  Bytes expected = Filled(kCluster, 0);
  std::ranges::fill(std::span(expected).subspan(10, 10), std::byte{1});
  EXPECT_EQ(Shown(0, kCluster), expected) << "nothing of what it held before";
}

TEST_F(ClusterWriterTest, ASharedClusterIsCopied) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 9), nullptr));
  const HostOffset host = MappingOf(0).host;
  const L2Entry shared =
      all_->geometry().l2().WithCopied(all_->geometry().l2().Normal(host), false);
  ASSERT_TRUE(all_->l2().SetEntries(GuestOffset(0), std::span(&shared, 1)));
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(100, 1), nullptr));
  EXPECT_NE(MappingOf(0).host, host);
  EXPECT_TRUE(MappingOf(0).copied);
  EXPECT_EQ(Shown(100, kCluster - 100), Filled(kCluster - 100, 9));
}

// Q2-8.
TEST_F(ClusterWriterTest, WhatCannotBeFilledIsNotLinked) {
  host_->AddFault({.matches = On(HostOp::kWrite)});
  EXPECT_FALSE(writer_->Write(GuestOffset(0), Filled(kCluster, 1), nullptr));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 1)->first, kFirstFree) << "and given back";
}

// Q2-6.
TEST_F(ClusterWriterTest, NoWriteGoesToMetadata) {
  const L2Entry entry = all_->geometry().l2().Normal(HostOffset(3 * kCluster));
  ASSERT_TRUE(all_->l2().SetEntries(GuestOffset(0), std::span(&entry, 1)));
  StartLog();
  const Status written = writer_->Write(GuestOffset(0), Filled(100, 1), nullptr);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(TakeLog(), Log());
}

TEST_F(ClusterWriterTest, WhatIsBrokenBelowFailsTheRequestAlone) {
  class Broken : public BackingReader {
    Status ReadBelow(GuestOffset /*offset*/, std::span<std::byte> /*out*/) const override {
      return Fail(ErrorKind::kCorrupt, "below");
    }
  };
  const Status written =
      writer_->Write(GuestOffset(1), Filled(100, 1), std::make_unique<Broken>().get());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kIo);
}

TEST_F(ClusterWriterTest, TheOldClusterIsGivenUp) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 9), nullptr));
  const HostOffset host = MappingOf(0).host;
  EXPECT_EQ(Refcount(host), 1u);
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(0), kCluster));
  ASSERT_TRUE(all_->ledger().CommitAndRelease());
  EXPECT_EQ(Refcount(host), 0u);
}

TEST_F(ClusterWriterTest, TakesAFileInPlaceAndIntoFreshAndReusedClusters) {
  host_->PutFile("b.raw", Filled(10 * kCluster, 5));
  const auto source = *host_->OpenRoot()->Open("b.raw", OpenMode::kReadOnly);
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(3 * kCluster, 1), nullptr));
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(kCluster), kCluster, true, nullptr));
  const HostOffset linked = MappingOf(0).host;
  const HostOffset reused = MappingOf(kCluster).host;
  ASSERT_TRUE(writer_->WriteFromFile(GuestOffset(0), 5 * kCluster, *source, HostOffset(kCluster)));
  EXPECT_EQ(Shown(0, 6 * kCluster).back(), std::byte{0});
  EXPECT_EQ(Shown(0, 5 * kCluster), Filled(5 * kCluster, 5));
  EXPECT_EQ(MappingOf(0).host, linked);
  EXPECT_EQ(MappingOf(kCluster).host, reused);
  EXPECT_EQ(MappingOf(kCluster).kind, ClusterKind::kNormal);
}

TEST_F(ClusterWriterTest, WhatAFileLeavesOfTheLastClusterIsZeroed) {
  host_->PutFile("b.raw", Filled(kCluster, 5));
  const auto source = *host_->OpenRoot()->Open("b.raw", OpenMode::kReadOnly);
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 9), nullptr));
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(0), kCluster, true, nullptr));
  ASSERT_TRUE(writer_->WriteFromFile(GuestOffset(0), 100, *source, HostOffset(0)));
  Bytes expected = Filled(kCluster, 0);
  std::ranges::fill(std::span(expected).first(100), std::byte{5});
  EXPECT_EQ(Shown(0, kCluster), expected);
}

// Q2-8.
TEST_F(ClusterWriterTest, WhatAFileCannotGiveIsNotLinked) {
  host_->PutFile("b.raw", Filled(100, 5));
  const auto source = *host_->OpenRoot()->Open("b.raw", OpenMode::kReadOnly);
  const Status written = writer_->WriteFromFile(GuestOffset(0), kCluster, *source, HostOffset(0));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(all_->clusters().Allocate(GuestOffset(0), 1)->first, kFirstFree);
}

}  // namespace
}  // namespace chainfs::qcow2
