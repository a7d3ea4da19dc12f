// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_inventory.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class TableInventoryTest : public TableFixture {
 protected:
  void SetUp() override {
    Create();
    Open();
  }
};

TEST_F(TableInventoryTest, LearnsWhereTheTablesLie) {
  constexpr uint64_t kTable = 10;  // a cluster
  Put(3 * kCluster, kEntryCopied | kTable * kCluster);
  EXPECT_FALSE(tables_->overlap.Holds(0, 1000)) << "not before it must";
  ASSERT_TRUE(inventory_->PrepareForWriting());
  for (const uint64_t cluster : {0u, 1u, 2u, 3u, 10u}) {
    EXPECT_TRUE(tables_->overlap.Holds(cluster, 1)) << cluster;
  }
  EXPECT_FALSE(tables_->overlap.Holds(4, 6));
  EXPECT_TRUE(inventory_->prepared());
  EXPECT_GE(tables_->written_end.Get(), 4 * kCluster);
}

TEST_F(TableInventoryTest, EarlyLearningWritesNothing) {
  Put(kOffsetAutoclear, 1ull << 40);
  Open();
  StartLog();
  ASSERT_TRUE(inventory_->LearnEarly());
  EXPECT_EQ(TakeLog(), Log());
  EXPECT_FALSE(inventory_->prepared());
  ASSERT_TRUE(inventory_->PrepareForWriting());
  EXPECT_EQ(TakeLog(), (Log{"write 0", "sync"})) << "the autoclear bits";
}

// Q2-9.
TEST_F(TableInventoryTest, OverlapsRefuseChangesAndLeaveTheHeader) {
  Put(3 * kCluster, kEntryCopied | kCluster);  // the refcount table
  StartLog();
  EXPECT_TRUE(inventory_->LearnEarly()) << "it can be read as it is";
  EXPECT_TRUE(tables_->corruption.found());
  EXPECT_TRUE(tables_->corruption.reason().contains("another one lies there"))
      << tables_->corruption.reason();
  const Status prepared = inventory_->PrepareForWriting();
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().kind, ErrorKind::kCorrupt);
  EXPECT_EQ(TakeLog(), Log());
}

TEST_F(TableInventoryTest, WhatWasChargedIsGivenBack) {
  ASSERT_TRUE(inventory_->PrepareForWriting());
  EXPECT_GT(cache_.UsedBytes(), 0u);
  inventory_.reset();
  tables_.reset();
  cache_.DropOwner(1);
  EXPECT_EQ(cache_.UsedBytes(), 0u);
}

}  // namespace
}  // namespace chainfs::qcow2
