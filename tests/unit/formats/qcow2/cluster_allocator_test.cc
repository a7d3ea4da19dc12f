// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_allocator.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class ClusterAllocatorTest : public TableFixture {
 protected:
  void SetUp() override { Make(); }
};

TEST_F(ClusterAllocatorTest, LowestFirstAndCounted) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const Result<ClusterRun> first = t.allocator.Allocate(3);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->first, kFirstFree);
  EXPECT_EQ(first->count, 3u);
  EXPECT_TRUE(first->beyond_file);
  EXPECT_EQ(t.allocator.Allocate(1)->first, kFirstFree + 3);
  t.allocator.Release(*first);
  const Result<ClusterRun> again = t.allocator.Allocate(10);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->first, kFirstFree);
  EXPECT_EQ(again->count, 3u);
  EXPECT_FALSE(again->beyond_file) << "it may have been written";
}

TEST_F(ClusterAllocatorTest, GoesOnInANewBlock) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_EQ(t.allocator.Allocate(1000)->count, 256 - kFirstFree);
  const Result<ClusterRun> next = t.allocator.Allocate(1000);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->first, 257u) << "the block took the first cluster";
  EXPECT_EQ(next->count, 255u);
}

// Q2-6.
TEST_F(ClusterAllocatorTest, NeverHandsOutMetadata) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  t.overlap.Add(kFirstFree + 1, 1);
  const Result<ClusterRun> run = t.allocator.Allocate(3);
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(*t.refcounts.Get(kFirstFree), 0u) << "nothing was taken";
}

TEST_F(ClusterAllocatorTest, ATableIsZeroedOnDisk) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  Put(kFirstFree * kCluster, 77);
  const Result<uint64_t> cluster = t.allocator.AllocateTable();
  ASSERT_TRUE(cluster);
  EXPECT_EQ(*cluster, kFirstFree);
  EXPECT_EQ(OnDisk(kFirstFree * kCluster), 0u);
  EXPECT_TRUE(t.overlap.Holds(kFirstFree, 1));
}

TEST_F(ClusterAllocatorTest, ATableThatCannotBeZeroedIsGivenBack) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  host_->AddFault({.matches = On(HostOp::kZero)});
  EXPECT_FALSE(t.allocator.AllocateTable());
  EXPECT_EQ(*t.refcounts.Get(kFirstFree), 0u);
  EXPECT_FALSE(t.overlap.Holds(kFirstFree, 1));
}

TEST_F(ClusterAllocatorTest, ContiguousOnesPassOverWhatIsInUse) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  ASSERT_TRUE(t.refcounts.Change(10, +1));
  EXPECT_EQ(*t.allocator.AllocateContiguous(100), 11u);
  EXPECT_EQ(*t.allocator.AllocateContiguous(5), kFirstFree);
  for (uint64_t cluster = 11; cluster < 111; ++cluster) EXPECT_EQ(*t.refcounts.Get(cluster), 1u);
}

TEST_F(ClusterAllocatorTest, ContiguousOnesThatNoBlocksLeaveRoomForComeWithALargerTable) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const uint64_t old_size = t.refcounts.table().size();
  const Result<uint64_t> first = t.allocator.AllocateContiguous(300);  // a block counts 256
  ASSERT_TRUE(first);
  EXPECT_GT(t.refcounts.table().size(), old_size);
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(*t.refcounts.Get(*first + i), 1u);
    EXPECT_FALSE(t.overlap.Holds(*first + i, 1));
  }
}

TEST_F(ClusterAllocatorTest, UnusedOnesLieBehindAllThatWasWritten) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  const ClusterRun first = *t.allocator.Allocate(4);
  t.allocator.Release(first);
  const Result<ClusterRun> unused = t.allocator.AllocateUnused(3);
  ASSERT_TRUE(unused);
  EXPECT_EQ(unused->first, first.first + 4);
  EXPECT_TRUE(unused->beyond_file);
  EXPECT_EQ(t.allocator.Allocate(1)->first, first.first) << "those before it are not forgotten";
  t.allocator.Release(*unused);
  EXPECT_EQ(t.allocator.AllocateUnused(1)->first, unused->first + 3) << "it may have been written";
}

}  // namespace
}  // namespace chainfs::qcow2
