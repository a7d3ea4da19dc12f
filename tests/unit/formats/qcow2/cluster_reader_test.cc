// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_reader.h"

#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ClusterReaderTest : public ClusterFixture {
 protected:
  void SetUp() override { MakeAll(); }
  Extent Map(uint64_t guest, uint64_t length) {
    const Result<Extent> extent = reader_->Map(GuestOffset(guest), length);
    EXPECT_TRUE(extent) << extent.error().message;
    return *extent;
  }
};

TEST_F(ClusterReaderTest, AnEmptyDiskIsOneExtent) {
  const Extent extent = Map(100, (1 << 20) - 100);
  EXPECT_EQ(extent.kind, ExtentKind::kUnallocated);
  EXPECT_EQ(extent.length, (1u << 20) - 100);
}

TEST_F(ClusterReaderTest, WhatFollowsInTheFileIsOneExtent) {
  ASSERT_TRUE(writer_->Write(GuestOffset(4 * kCluster), Filled(3 * kCluster, 1), nullptr));
  ASSERT_TRUE(writer_->Write(GuestOffset(9 * kCluster), Filled(kCluster, 2), nullptr));
  ASSERT_TRUE(writer_->Write(GuestOffset(8 * kCluster), Filled(kCluster, 3), nullptr));
  const Extent before = Map(0, 100 * kCluster);
  EXPECT_EQ(before.kind, ExtentKind::kUnallocated);
  EXPECT_EQ(before.length, 4 * kCluster);
  const Extent three = Map(4 * kCluster + 10, 100 * kCluster);
  EXPECT_EQ(three.kind, ExtentKind::kData);
  EXPECT_EQ(three.length, 3 * kCluster - 10);
  EXPECT_EQ(three.host, MappingOf(4 * kCluster).host + 10);
  EXPECT_EQ(Map(8 * kCluster, 100 * kCluster).length, kCluster) << "written the other way round";
}

TEST_F(ClusterReaderTest, ZeroesOfBothKindsAreOneExtent) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(2 * kCluster, 1), nullptr));
  ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(0), 2 * kCluster, true, nullptr));
  ASSERT_TRUE(zeroer_->Discard(GuestOffset(kCluster), kCluster));
  EXPECT_EQ(MappingOf(0).kind, ClusterKind::kZeroAllocated);
  EXPECT_EQ(MappingOf(kCluster).kind, ClusterKind::kZeroPlain);
  const Extent zeroes = Map(0, 10 * kCluster);
  EXPECT_EQ(zeroes.kind, ExtentKind::kZero);
  EXPECT_EQ(zeroes.length, 2 * kCluster);
}

TEST_F(ClusterReaderTest, WhatComesBeforeABadEntryIsSound) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(2 * kCluster, 1), nullptr));
  const L2Entry bad{kEntryCopied};
  ASSERT_TRUE(all_->l2().SetEntries(GuestOffset(kCluster), std::span(&bad, 1)));
  EXPECT_EQ(Map(0, 10 * kCluster).length, kCluster);
  const Result<Extent> extent = reader_->Map(GuestOffset(kCluster), kCluster);
  ASSERT_FALSE(extent);
  EXPECT_EQ(extent.error().kind, ErrorKind::kCorrupt);
}

TEST_F(ClusterReaderTest, NothingShowsPastTheEndOfTheDisk) {
  const FullOf below(7);
  Bytes out = Filled(kCluster, 1);
  ASSERT_TRUE(reader_->ReadBefore({}, GuestOffset((1 << 20) - 100), out, &below));
  EXPECT_EQ(out[99], std::byte{7});
  EXPECT_EQ(out[100], std::byte{0});
}

// Q2-9.
TEST_F(ClusterReaderTest, WhatCannotBeDecodedIsNoBrokenTable) {
  ASSERT_TRUE(writer_->Write(GuestOffset(0), Filled(kCluster, 0xff), nullptr));
  Bytes out(kCluster);
  const Status read = reader_->ReadCompressed(MappingOf(0).host, kCluster, out);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kIo);
}

}  // namespace
}  // namespace chainfs::qcow2
