// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/image_tables.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ImageTablesTest : public TableFixture {
 protected:
  void SetUp() override {
    Create();
    Open();
    inventory_.reset();
    tables_.reset();
    all_ = std::make_unique<ImageTables>(*file_, *file_, cache_, cache_.NewOwner(), epoch_,
                                         *ReadQcow2Header(*file_));
    ASSERT_TRUE(all_->inventory().PrepareForWriting());
  }
  Status Link(uint64_t guest) {
    const Result<ClusterRun> run = all_->clusters().Allocate(GuestOffset(0), 1);
    EXPECT_TRUE(run);
    const L2Entry entry = all_->geometry().l2().Normal(all_->geometry().HostOf(run->first));
    return all_->l2().SetEntries(GuestOffset(guest), std::span(&entry, 1));
  }
  std::unique_ptr<ImageTables> all_;
};

// Q2-4: 1 MiB needs 32 L1 entries, 8 MiB need 256.
TEST_F(ImageTablesTest, ALargerL1TableIsDurableBeforeTheHeaderNamesIt) {
  ASSERT_TRUE(Link(0));
  const uint64_t entry = *all_->l1().Entry(0);
  StartLog();
  ASSERT_TRUE(all_->GrowL1For(8 << 20));
  const Log log = TakeLog();
  ASSERT_GE(log.size(), 3u);
  EXPECT_EQ(log[log.size() - 3], "sync");
  EXPECT_EQ(log[log.size() - 2], "write 0");
  EXPECT_EQ(log.back(), "sync");
  EXPECT_EQ(all_->l1().entries(), 256u);
  EXPECT_EQ(*all_->l1().Entry(0), entry);
  EXPECT_EQ(OnDisk(all_->l1().offset().value), entry) << "the new table is complete on disk";
  EXPECT_EQ(OnDisk(kOffsetL1Table), all_->l1().offset().value);
  EXPECT_EQ(all_->header().virtual_size(), 1u << 20) << "the size is another step";
}

TEST_F(ImageTablesTest, ATableThatIsLongEnoughStays) {
  StartLog();
  ASSERT_TRUE(all_->GrowL1For(1 << 20));
  EXPECT_EQ(TakeLog(), Log());
  const Status grown = all_->GrowL1For(1ull << 60);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().kind, ErrorKind::kInvalidArgument);
}

// Q2-9.
TEST_F(ImageTablesTest, ACorruptImageKeepsWhatItAcknowledged) {
  ASSERT_TRUE(Link(0));
  all_->MarkCorrupt("why");
  EXPECT_TRUE(all_->corruption().found());
  EXPECT_FALSE(all_->ledger().HasPending()) << "what was changed before is durable";
  EXPECT_NE(OnDisk(3 * kCluster), 0u);
  EXPECT_NE(OnDisk(kOffsetIncompatible) & kIncompatibleCorrupt, 0u);
  EXPECT_FALSE(all_->failed());
}

TEST_F(ImageTablesTest, AFileThatTakesNothingTakesNoMarkEither) {
  ASSERT_TRUE(Link(0));
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  all_->MarkCorrupt("why");
  EXPECT_TRUE(all_->corruption().found());
  EXPECT_TRUE(all_->failed());
  EXPECT_EQ(OnDisk(kOffsetIncompatible) & kIncompatibleCorrupt, 0u);
}

}  // namespace
}  // namespace chainfs::qcow2
