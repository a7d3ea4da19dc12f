// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l1_table.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kEntry = kEntryCopied | 0x1200;

class L1TableTest : public TableFixture {
 protected:
  static constexpr uint64_t kAt = 3 * kCluster;
  static constexpr uint64_t kEntries = 1000;  // 16 slices, of which some are held

  void SetUp() override {
    Create();
    Open();
    geometry_ = tables_->geometry;
    slices_ = &tables_->slices;
  }
  std::unique_ptr<L1Table> Table(uint64_t entries = kEntries) {
    return std::make_unique<L1Table>(*file_, *slices_, geometry_, HostOffset(kAt), entries);
  }

  Geometry geometry_;
  TableSlices* slices_ = nullptr;
};

TEST_F(L1TableTest, ReadsWhatIsOnDiskAndNothingBehindItsEnd) {
  for (const uint64_t index : {0u, 63u, 64u, 999u}) Put(kAt + index * 8, kEntry + index);
  Put(kAt + kEntries * 8, kEntry);
  const auto table = Table();
  for (int round = 0; round < 2; ++round) {  // the second finds slices held
    for (const uint64_t index : {0u, 63u, 64u, 999u}) {
      EXPECT_EQ(*table->Entry(index), kEntry + index);
    }
    EXPECT_EQ(*table->Entry(1), 0u);
    EXPECT_EQ(*table->Entry(kEntries), 0u);
  }
  EXPECT_EQ(table->end(), HostOffset(kAt + kEntries * 8));
}

TEST_F(L1TableTest, AChangeIsSeenAtOnceAndSaysWhereItBelongs) {
  const auto table = Table();
  for (const uint64_t index : {3u, 70u, 900u}) {
    const Result<SlicePtr> slice = table->SliceToChange(index);
    ASSERT_TRUE(slice);
    EXPECT_EQ(table->SliceOffset(index), HostOffset(kAt + RoundDown(index * 8, 512)));
    table->Store(index, kEntry, *slice);
    EXPECT_EQ(*table->Entry(index), kEntry);
    EXPECT_EQ(OnDisk(kAt + index * 8), 0u) << "not written yet";
  }
}

TEST_F(L1TableTest, EmptyRangesAreCountedWithinASlice) {
  Put(kAt + 8 * 10, kEntry);
  const auto table = Table();
  EXPECT_EQ(*table->BytesWithoutL2(GuestOffset(0)), 10 * kL2Span);
  EXPECT_EQ(*table->BytesWithoutL2(GuestOffset(kL2Span + 512)), 9 * kL2Span - 512);
  EXPECT_EQ(*table->BytesWithoutL2(GuestOffset(11 * kL2Span)), 53 * kL2Span) << "to its end";
  EXPECT_EQ(*table->BytesWithoutL2(GuestOffset((kEntries + 5) * kL2Span)), kL2Span);
}

TEST_F(L1TableTest, MovesAsItIsInMemory) {
  constexpr uint64_t kNew = 100 * kCluster;
  Put(kAt + 8 * 5, kEntry);
  const auto table = Table(40);
  const Result<SlicePtr> old = table->SliceToChange(7);
  ASSERT_TRUE(old);
  table->Store(7, kEntry + 512, *old);
  ASSERT_TRUE(table->CopyTo(HostOffset(kNew), 4000));
  EXPECT_EQ(OnDisk(kNew + 8 * 5), kEntry);
  EXPECT_EQ(OnDisk(kNew + 8 * 7), kEntry + 512);
  EXPECT_EQ(table->entries(), 40u) << "not yet";
  table->Move();
  EXPECT_EQ(table->entries(), 4000u);
  EXPECT_EQ(*table->Entry(5), kEntry);
  EXPECT_EQ(*table->Entry(7), kEntry + 512);
  EXPECT_EQ(*table->Entry(3999), 0u);
  EXPECT_EQ((*old)->LoadWord(7), kEntry + 512) << "who still holds the old place reads on";
}

}  // namespace
}  // namespace chainfs::qcow2
