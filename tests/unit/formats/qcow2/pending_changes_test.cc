// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/pending_changes.h"

#include <gtest/gtest.h>

#include <array>

#include "blocklayer/base/endian.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {
namespace {

constexpr HostOffset kTable(0x10000);
constexpr HostOffset kL1End(0x30000);

SlicePtr SliceOf(uint64_t first_word) {
  auto slice = std::make_shared<MetadataSlice>(512);
  slice->StoreWord(0, first_word);
  return slice;
}

uint64_t FirstWord(const CommitBatch::Slice& slice) {
  return LoadBigEndian<uint64_t>(slice.bytes.data());
}

class PendingChangesTest : public ::testing::Test {
 protected:
  CommitBatch Take() { return pending_.Take(table_, kTable, kL1End); }

  std::atomic<size_t> weight_ = 0;
  PendingChanges pending_{weight_};
  RefcountTable table_;
};

TEST_F(PendingChangesTest, ACommitTakesEverythingAsItIs) {
  EXPECT_TRUE(pending_.empty());
  const SlicePtr l2 = SliceOf(1);
  pending_.AddL2({{512, l2}});
  pending_.AddL2({{512, l2}});
  pending_.AddL1(HostOffset(1024), SliceOf(2));
  pending_.AddRefcounts(HostOffset(1536), SliceOf(3));
  table_.Grow(128);
  table_.Set(65, 0x4400);
  pending_.AddRefcountTableEntry(65);
  pending_.AddDereferenced(std::vector<uint64_t>{9, 9});
  EXPECT_FALSE(pending_.empty());

  const CommitBatch batch = Take();
  EXPECT_TRUE(pending_.empty());
  EXPECT_FALSE(batch.empty());
  ASSERT_EQ(batch.l2.size(), 1u);
  l2->StoreWord(0, 99);  // after it was taken
  EXPECT_EQ(FirstWord(batch.l2[0]), 1u);
  EXPECT_EQ(batch.l1.at(0).offset, HostOffset(1024));
  EXPECT_EQ(FirstWord(batch.refcounts.at(0)), 3u);
  EXPECT_EQ(batch.reftable_sectors, std::set<uint64_t>{1});
  ASSERT_EQ(batch.reftable_bytes.size(), 512u);
  EXPECT_EQ(LoadBigEndian<uint64_t>(batch.reftable_bytes.data() + 8), 0x4400u);
  EXPECT_EQ(batch.dereferenced, (std::vector<uint64_t>{9, 9}));
  EXPECT_EQ(batch.l1_end, kL1End);
}

TEST_F(PendingChangesTest, WhatCouldNotBeWrittenIsPendingAgainWithNewerContents) {
  const SlicePtr slice = SliceOf(1);
  pending_.AddL2({{512, slice}});
  pending_.AddDereferenced(std::vector<uint64_t>{4});
  CommitBatch failed = Take();
  slice->StoreWord(0, 2);
  pending_.AddL2({{512, slice}});
  pending_.AddDereferenced(std::vector<uint64_t>{5});
  pending_.PutBack(std::move(failed), kTable);
  const CommitBatch again = Take();
  ASSERT_EQ(again.l2.size(), 1u);
  EXPECT_EQ(FirstWord(again.l2[0]), 2u);
  EXPECT_EQ(again.dereferenced, (std::vector<uint64_t>{5, 4}));
}

TEST_F(PendingChangesTest, SectorsOfATableThatMovedAreNotPutBack) {
  table_.Grow(64);
  pending_.AddRefcountTableEntry(3);
  CommitBatch same = Take();
  pending_.PutBack(std::move(same), kTable);
  EXPECT_TRUE(pending_.has_refcount_table_entries());
  CommitBatch moved = Take();
  pending_.PutBack(std::move(moved), kTable + 512);
  EXPECT_FALSE(pending_.has_refcount_table_entries());
}

TEST_F(PendingChangesTest, WeighsSlicesAndDereferences) {
  pending_.AddL2({{512, SliceOf(1)}});
  pending_.AddRefcounts(HostOffset(1024), SliceOf(1));
  EXPECT_EQ(weight_.load(), 2u);
  pending_.AddDereferenced(std::vector<uint64_t>(640));
  EXPECT_EQ(weight_.load(), 12u);
  CommitBatch batch = Take();
  EXPECT_EQ(weight_.load(), 0u);
  pending_.PutBack(std::move(batch), kTable);
  EXPECT_EQ(weight_.load(), 12u);
}

// Counts that a commit has taken and not written yet go to the disk as they are now.
TEST_F(PendingChangesTest, RefcountsUnderWayAreWrittenToo) {
  const auto file = *MemHost::Create()->OpenRoot()->Create("image", 0600);
  const SlicePtr taken = SliceOf(1);
  pending_.AddRefcounts(HostOffset(512), taken);
  const CommitBatch batch = Take();
  pending_.SetUnderWay(&batch);
  taken->StoreWord(0, 2);
  pending_.AddRefcounts(HostOffset(1024), SliceOf(3));
  ASSERT_TRUE(pending_.WriteRefcounts(*file));
  pending_.SetUnderWay(nullptr);
  std::array<std::byte, 8> raw;
  ASSERT_TRUE(file->ReadZeroFilled(HostOffset(512), raw));
  EXPECT_EQ(LoadBigEndian<uint64_t>(raw.data()), 2u);
  ASSERT_TRUE(file->ReadZeroFilled(HostOffset(1024), raw));
  EXPECT_EQ(LoadBigEndian<uint64_t>(raw.data()), 3u);
  EXPECT_FALSE(pending_.empty()) << "they are not durable by that";
}

}  // namespace
}  // namespace chainfs::qcow2
