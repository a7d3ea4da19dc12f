// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l2_tables.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class L2TablesTest : public TableFixture {
 protected:
  static constexpr uint64_t kL1 = 3 * kCluster;

  void SetUp() override {
    Make();
    codec_ = tables_->geometry.l2();
    l2_ = std::make_unique<L2Tables>(*tables_);
  }
  // A cluster that counts as in use.
  HostOffset NewCluster() {
    MutexLock lock(tables_->mu);
    return tables_->geometry.HostOf(tables_->allocator.Allocate(1)->first);
  }
  std::vector<uint64_t> TakeDereferenced() {
    MutexLock lock(tables_->mu);
    return tables_->pending.Take({}, HostOffset(0), HostOffset(0)).dereferenced;
  }
  Status Set(uint64_t guest, L2Entry entry) {
    return l2_->SetEntries(GuestOffset(guest), std::span(&entry, 1));
  }

  L2Codec codec_{3, 9};
  std::unique_ptr<L2Tables> l2_;
};

TEST_F(L2TablesTest, WhatIsLinkedIsFound) {
  EXPECT_EQ(*l2_->Slice(GuestOffset(0)), nullptr);
  EXPECT_EQ(l2_->Lookup(GuestOffset(0))->kind, ClusterKind::kUnallocated);
  const HostOffset host = NewCluster();
  ASSERT_TRUE(Set(5 * kCluster, codec_.Normal(host)));
  const Result<ClusterMapping> mapping = l2_->Lookup(GuestOffset(5 * kCluster + 100));
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->host, host);
  EXPECT_TRUE(mapping->copied);
  EXPECT_EQ(l2_->Lookup(GuestOffset(6 * kCluster))->kind, ClusterKind::kUnallocated);
  EXPECT_EQ(OnDisk(kL1), 0u) << "nothing is on disk before a commit";
}

TEST_F(L2TablesTest, EntriesSpanTables) {
  const std::vector<L2Entry> zeros(100, codec_.Zero());
  ASSERT_TRUE(l2_->SetEntries(GuestOffset(60 * kCluster), zeros));
  EXPECT_EQ(l2_->Lookup(GuestOffset(59 * kCluster))->kind, ClusterKind::kUnallocated);
  EXPECT_EQ(l2_->Lookup(GuestOffset(60 * kCluster))->kind, ClusterKind::kZeroPlain);
  EXPECT_EQ(l2_->Lookup(GuestOffset(159 * kCluster))->kind, ClusterKind::kZeroPlain);
  EXPECT_EQ(l2_->Lookup(GuestOffset(160 * kCluster))->kind, ClusterKind::kUnallocated);
}

TEST_F(L2TablesTest, WhatIsReplacedIsDereferenced) {
  const HostOffset host = NewCluster();
  ASSERT_TRUE(Set(0, codec_.Normal(host)));
  ASSERT_TRUE(Set(0, codec_.ZeroAllocated(host)));
  EXPECT_EQ(TakeDereferenced(), std::vector<uint64_t>());
  ASSERT_TRUE(Set(0, codec_.Zero()));
  EXPECT_EQ(TakeDereferenced(), std::vector<uint64_t>{tables_->geometry.ClusterOf(host)});
}

TEST_F(L2TablesTest, AllOrNone) {
  const HostOffset host = NewCluster();
  ASSERT_TRUE(Set(0, codec_.Normal(host)));
  ASSERT_TRUE(Set(kCluster, codec_.Normal(HostOffset(kL1))));  // names the L1 table
  const std::vector<L2Entry> zeros(2, codec_.Zero());
  const Status set = l2_->SetEntries(GuestOffset(0), zeros);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(l2_->Lookup(GuestOffset(0))->host, host);
  EXPECT_EQ(TakeDereferenced(), std::vector<uint64_t>());
}

TEST_F(L2TablesTest, BadEntriesAreCorruption) {
  Put(kL1 + 8, kEntryCopied | 0x1234);
  const Result<ClusterMapping> l1 = l2_->Lookup(GuestOffset(kL2Span));
  ASSERT_FALSE(l1);
  EXPECT_TRUE(l1.error().message.contains("L1 entry")) << l1.error().message;
  ASSERT_TRUE(Set(0, L2Entry{kEntryCopied}));
  const Result<ClusterMapping> l2 = l2_->Lookup(GuestOffset(0));
  ASSERT_FALSE(l2);
  EXPECT_EQ(l2.error().kind, ErrorKind::kCorrupt);
  EXPECT_FALSE(Set(0, codec_.Zero())) << "nor is it replaced";
}

// Q2-10. Another table's worth of references: the L2 table counts twice, as do its clusters.
TEST_F(L2TablesTest, ATableThatOthersReferToIsCopied) {
  const HostOffset shared = NewCluster();
  const HostOffset data = NewCluster();
  Put(kL1, shared.value);
  Put(shared.value, data.value);
  {
    MutexLock lock(tables_->mu);
    ASSERT_TRUE(tables_->refcounts.Change(tables_->geometry.ClusterOf(shared), +1));
  }
  ASSERT_TRUE(Set(3 * kCluster, codec_.Zero()));
  EXPECT_EQ(l2_->Lookup(GuestOffset(0))->host, data) << "what it held is kept";
  EXPECT_EQ(OnDisk(shared.value + 3 * 8), 0u);
  const uint64_t entry = *tables_->l1.Entry(0);
  EXPECT_NE(entry & kEntryOffsetMask, shared.value);
  EXPECT_NE(entry & kEntryCopied, 0u);
  EXPECT_EQ(TakeDereferenced(), std::vector<uint64_t>{tables_->geometry.ClusterOf(shared)});
}

TEST_F(L2TablesTest, ATableThatNobodyElseRefersToIsOurs) {
  const HostOffset table = NewCluster();
  Put(kL1, table.value);
  ASSERT_TRUE(Set(0, codec_.Zero()));
  EXPECT_EQ(*tables_->l1.Entry(0), table.value | kEntryCopied);
}

}  // namespace
}  // namespace chainfs::qcow2
