// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_blocks.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class RefcountBlocksTest : public TableFixture {
 protected:
  void SetUp() override { Make(); }
};

class FullRefcountTest : public TableFixture {};

TEST_F(RefcountBlocksTest, CountsWhatTheImageSays) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  for (uint64_t cluster = 0; cluster < kFirstFree; ++cluster) {
    EXPECT_EQ(*t.refcounts.Get(cluster), 1u) << cluster;
  }
  EXPECT_EQ(*t.refcounts.Get(kFirstFree), 0u);
  EXPECT_TRUE(t.refcounts.Counts(255));
  EXPECT_FALSE(t.refcounts.Counts(256));
  EXPECT_EQ(*t.refcounts.Get(256), 0u) << "nothing counts it";
  EXPECT_EQ(*t.refcounts.Get(1 << 20), 0u) << "beyond the table";
}

TEST_F(RefcountBlocksTest, ChangesArePendingAndStayWithinBounds) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_TRUE(t.pending.empty());
  ASSERT_TRUE(t.refcounts.Change(7, +1));
  ASSERT_TRUE(t.refcounts.Change(7, +1));
  EXPECT_EQ(*t.refcounts.Get(7), 2u);
  EXPECT_FALSE(t.pending.empty());
  EXPECT_EQ(RefcountOnDisk(7), 0u);
  const Status low = t.refcounts.Change(8, -1);
  ASSERT_FALSE(low);
  EXPECT_EQ(low.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(t.refcounts.Change(256, +1)) << "nothing counts it";
  Put(2 * kCluster + 8 * 2, 0xffffull << 48);  // cluster 8, in a slice that is read already
  EXPECT_TRUE(t.refcounts.Change(8, +1)) << "the slice in memory counts";
}

TEST_F(FullRefcountTest, ACountAtItsLargestStaysThere) {
  Create();
  Open();
  Put(2 * kCluster + 8 * 2, 0xffffull << 48);
  Open();
  ASSERT_TRUE(inventory_->PrepareForWriting());
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const Status high = t.refcounts.Change(8, +1);
  ASSERT_FALSE(high);
  EXPECT_TRUE(high.error().message.contains("too high")) << high.error().message;
}

TEST_F(RefcountBlocksTest, FindsAndTakesTheFirstFreeOnes) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  ASSERT_TRUE(t.refcounts.Change(6, +1));
  const Result<RefcountBlocks::FreeRun> first = t.refcounts.FindFree(0, 10);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->first, kFirstFree);
  EXPECT_EQ(first->count, 2u) << "up to the one in use";
  t.refcounts.Take(*first);
  t.refcounts.NoteUsedBelow(6);
  EXPECT_EQ(t.refcounts.free_hint(), 6u);
  const Result<RefcountBlocks::FreeRun> second = t.refcounts.FindFree(6, 10);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->first, 7u);
  EXPECT_EQ(second->count, 10u);
  ASSERT_TRUE(t.refcounts.Change(4, -1));
  EXPECT_EQ(t.refcounts.free_hint(), 4u) << "it is free again";
}

TEST_F(RefcountBlocksTest, AFullSliceSaysWhereToGoOn) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const Result<RefcountBlocks::FreeRun> all = t.refcounts.FindFree(0, 1000);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->count, 256 - kFirstFree) << "no further than the slice";
  t.refcounts.Take(*all);
  const Result<RefcountBlocks::FreeRun> none = t.refcounts.FindFree(10, 1);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->count, 0u);
  EXPECT_EQ(none->first, 256u);
}

TEST_F(RefcountBlocksTest, AnImpossibleTableEntryIsCorruption) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  RefcountTable table = t.refcounts.table();
  table.Set(1, 0x1200 | 0x8);
  t.refcounts.SetTable(std::move(table));
  const Result<uint64_t> count = t.refcounts.Get(300);
  ASSERT_FALSE(count);
  EXPECT_EQ(count.error().kind, ErrorKind::kCorrupt);
}

}  // namespace
}  // namespace chainfs::qcow2
