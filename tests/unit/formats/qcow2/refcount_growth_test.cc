// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_growth.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

// 64-bit refcounts: a block counts 64 clusters, so that the table of 64 entries is soon too small.
class RefcountGrowthTest : public TableFixture {
 protected:
  static constexpr uint64_t kPerBlock = 64;
  static constexpr uint64_t kCounted = 64 * kPerBlock;  // clusters that the first table can count

  void SetUp() override { Make(3, 6); }
};

TEST_F(RefcountGrowthTest, ABlockCountsItself) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  StartLog();
  ASSERT_TRUE(t.growth.AddBlock(3));
  const uint64_t cluster = 3 * kPerBlock;
  EXPECT_EQ(TakeLog(), (Log{"zero " + std::to_string(cluster * kCluster)}));
  EXPECT_EQ(*t.refcounts.Get(cluster), 1u);
  EXPECT_EQ(*t.refcounts.Get(cluster + 1), 0u);
  EXPECT_TRUE(t.overlap.Holds(cluster, 1));
  EXPECT_EQ(t.written_end.Get(), (cluster + 1) * kCluster);
  EXPECT_TRUE(t.pending.has_refcount_table_entries());
  EXPECT_EQ(OnDisk(kCluster + 3 * 8), 0u) << "the table follows with a commit";
  ASSERT_TRUE(t.growth.WriteTable());
  EXPECT_EQ(OnDisk(kCluster + 3 * 8), cluster * kCluster);
  EXPECT_FALSE(t.pending.has_refcount_table_entries());
}

TEST_F(RefcountGrowthTest, NoBlockIsPutOnMetadata) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  t.overlap.Add(3 * kPerBlock, 1);
  const Status added = t.growth.AddBlock(3);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(t.refcounts.Counts(3 * kPerBlock));
}

// Q2-1, Q2-4: what the new table names is durable before the header names it.
TEST_F(RefcountGrowthTest, ALargerTableIsDurableBeforeTheHeaderNamesIt) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  ASSERT_TRUE(t.refcounts.Change(10, +1));
  StartLog();
  ASSERT_TRUE(t.growth.GrowTable(64, 0));
  const Log log = TakeLog();
  ASSERT_GE(log.size(), 5u);
  EXPECT_EQ(log.front(), "write " + std::to_string(2 * kCluster)) << "the pending refcounts";
  EXPECT_EQ(log[log.size() - 3], "sync");
  EXPECT_EQ(log[log.size() - 2], "write 0");
  EXPECT_EQ(log.back(), "sync");

  EXPECT_EQ(OnDisk(kOffsetRefcountTable), kCounted * kCluster);
  EXPECT_EQ(t.refcounts.table_offset(), HostOffset(kCounted * kCluster));
  EXPECT_GT(t.refcounts.table().size(), 64u);
  EXPECT_EQ(*t.refcounts.Get(kCounted), 1u) << "it counts itself";
  EXPECT_TRUE(t.overlap.Holds(kCounted, 1));
  EXPECT_FALSE(t.overlap.Holds(1, 1)) << "the old one is given up";
  EXPECT_EQ(*t.refcounts.Get(1), 1u) << "once that is durable";
}

TEST_F(RefcountGrowthTest, ExtraClustersComeCountedWithIt) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const Result<uint64_t> first = t.growth.GrowTable(64, 100);
  ASSERT_TRUE(first);
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(*t.refcounts.Get(*first + i), 1u);
    EXPECT_FALSE(t.overlap.Holds(*first + i, 1));
  }
}

TEST_F(RefcountGrowthTest, AFailureBeforeTheHeaderChangesNothing) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  host_->AddFault({.matches = On(HostOp::kWrite)});
  EXPECT_FALSE(t.growth.GrowTable(64, 0));
  EXPECT_FALSE(t.header.uncertain());
  EXPECT_EQ(OnDisk(kOffsetRefcountTable), kCluster);
  EXPECT_EQ(t.refcounts.table().size(), 64u);
  EXPECT_TRUE(t.growth.GrowTable(64, 0)) << "and it may be tried again";
}

TEST_F(RefcountGrowthTest, TheLargestTableIsTheEnd) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const Result<uint64_t> grown = t.growth.GrowTable((8 << 20) / 8, 0);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().kind, ErrorKind::kNoSpace);
}

}  // namespace
}  // namespace chainfs::qcow2
