// SPDX-License-Identifier: Apache-2.0
//
// The order of a commit (Q2-1, Q2-2).
#include "blocklayer/formats/qcow2/commit_batch.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

CommitBatch::Slice At(uint64_t offset) {
  return {.offset = HostOffset(offset),
          .slice = std::make_shared<MetadataSlice>(512),
          .bytes = std::vector<std::byte>(512, std::byte{0x5a})};
}

class CommitBatchTest : public TableFixture {
 protected:
  void SetUp() override {
    Make();
    StartLog();
  }
};

TEST_F(CommitBatchTest, RefcountsThenTheirTableThenMappings) {
  CommitBatch batch;
  batch.refcounts.push_back(At(5120));
  batch.l2.push_back(At(6144));
  batch.l1.push_back(At(7168));
  batch.l1_end = HostOffset(7168 + 512);
  batch.reftable_offset = HostOffset(10240);
  batch.reftable_sectors = {0, 3};
  batch.reftable_bytes.resize(1024);
  ASSERT_TRUE(batch.Write(*file_, *file_));
  EXPECT_EQ(TakeLog(), (Log{"write 5120", "sync", "write 10240", "write 11776", "sync",
                            "write 6144", "write 7168", "sync"}));
}

TEST_F(CommitBatchTest, WithoutNewBlocksTheirTableNeedsNoSync) {
  CommitBatch batch;
  batch.refcounts.push_back(At(5120));
  batch.l2.push_back(At(6144));
  ASSERT_TRUE(batch.Write(*file_, *file_));
  EXPECT_EQ(TakeLog(), (Log{"write 5120", "sync", "write 6144", "sync"}));
}

TEST_F(CommitBatchTest, MappingsAloneWaitForTheDataTheyName) {
  CommitBatch batch;
  batch.l2.push_back(At(6144));
  ASSERT_TRUE(batch.Write(*file_, *file_));
  EXPECT_EQ(TakeLog(), (Log{"sync", "write 6144", "sync"}));
}

TEST_F(CommitBatchTest, AnEmptyOneSyncsTheData) {
  const CommitBatch batch;
  EXPECT_TRUE(batch.empty());
  ASSERT_TRUE(batch.Write(*file_, *file_));
  EXPECT_EQ(TakeLog(), (Log{"sync"}));
}

TEST_F(CommitBatchTest, NothingIsWrittenBehindTheL1Table) {
  const uint64_t behind = 7168 + 24;
  Put(behind, 0x1122334455667788);
  CommitBatch batch;
  batch.l1.push_back(At(7168));
  batch.l1_end = HostOffset(behind);
  ASSERT_TRUE(batch.Write(*file_, *file_));
  EXPECT_EQ(OnDisk(behind - 8), 0x5a5a5a5a5a5a5a5au);
  EXPECT_EQ(OnDisk(behind), 0x1122334455667788u);
}

TEST_F(CommitBatchTest, NoMappingIsWrittenAfterAFailedSync) {
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  CommitBatch batch;
  batch.refcounts.push_back(At(5120));
  batch.l2.push_back(At(6144));
  EXPECT_FALSE(batch.Write(*file_, *file_));
  EXPECT_EQ(TakeLog(), (Log{"write 5120", "sync"}));
}

}  // namespace
}  // namespace chainfs::qcow2
