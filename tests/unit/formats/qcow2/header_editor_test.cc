// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_editor.h"

#include <new>

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class HeaderEditorTest : public TableFixture {
 protected:
  Qcow2Header Reread() {
    Result<Qcow2Header> header = ReadQcow2Header(*file_);
    EXPECT_TRUE(header) << header.error().message;
    return *std::move(header);
  }
  // Incompatible and autoclear bits of a version 3 header.
  void PutFeatures(uint64_t incompatible, uint64_t autoclear) {
    Open();
    Put(kOffsetIncompatible, incompatible);
    Put(kOffsetAutoclear, autoclear);
    Open();
  }
};

// Q2-4.
TEST_F(HeaderEditorTest, AChangeIsOneSectorWriteAndASync) {
  Make();
  StartLog();
  ASSERT_TRUE(tables_->header.SetVirtualSize(2 << 20));
  EXPECT_EQ(TakeLog(), (Log{"write 0", "sync"}));
  EXPECT_EQ(tables_->header.virtual_size(), 2u << 20);
  EXPECT_EQ(OnDisk(kOffsetSize), 2u << 20);
}

// Q2-7.
TEST_F(HeaderEditorTest, AChangeThatFailedHalfWayLeavesItUncertain) {
  Make();
  host_->AddFault({.matches = On(HostOp::kWrite)});
  EXPECT_FALSE(tables_->header.SetVirtualSize(2 << 20));
  EXPECT_TRUE(tables_->header.uncertain());
  EXPECT_EQ(tables_->header.virtual_size(), 1u << 20);
}

TEST_F(HeaderEditorTest, SoDoesOneThatRanOutOfMemory) {
  Make();
  host_->SetHook([](const HostCall& call) -> int {
    if (call.op == HostOp::kWrite) throw std::bad_alloc();
    return 0;
  });
  EXPECT_THROW((void)tables_->header.SetVirtualSize(2 << 20), std::bad_alloc);
  EXPECT_TRUE(tables_->header.uncertain());
  EXPECT_EQ(tables_->header.virtual_size(), 1u << 20);
}

TEST_F(HeaderEditorTest, WhatWasNotTriedLeavesItAsItWas) {
  Make();
  host_->AddFault({.matches = On(HostOp::kRead)});
  EXPECT_FALSE(tables_->header.SetVirtualSize(2 << 20));
  EXPECT_FALSE(tables_->header.uncertain());
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  EXPECT_FALSE(file_->DataSync());
  StartLog();
  EXPECT_FALSE(tables_->header.SetVirtualSize(2 << 20)) << "the file is poisoned";
  EXPECT_FALSE(tables_->header.uncertain());
  EXPECT_EQ(OnDisk(kOffsetSize), 1u << 20);
}

TEST_F(HeaderEditorTest, AutoclearBitsAreClearedOnce) {
  Create();
  PutFeatures(0, 1ull << 40);
  StartLog();
  ASSERT_TRUE(tables_->header.ClearAutoclearFeatures());
  EXPECT_EQ(TakeLog(), (Log{"write 0", "sync"}));
  EXPECT_EQ(Reread().autoclear, 0u);
  ASSERT_TRUE(tables_->header.ClearAutoclearFeatures());
  EXPECT_EQ(TakeLog(), Log());
}

TEST_F(HeaderEditorTest, TheCorruptBitJoinsTheOthers) {
  Create();
  PutFeatures(kIncompatibleDirty, 0);
  tables_->header.SetCorruptBit();
  EXPECT_EQ(Reread().incompatible, kIncompatibleDirty | kIncompatibleCorrupt);
  EXPECT_TRUE(tables_->header.header().corrupt());
}

TEST_F(HeaderEditorTest, Version2HasNoFeatureBits) {
  Make(2);
  StartLog();
  tables_->header.SetCorruptBit();
  EXPECT_TRUE(tables_->header.ClearAutoclearFeatures());
  EXPECT_EQ(TakeLog(), Log());
}

TEST_F(HeaderEditorTest, TheBackingFileIsChangedAndRead) {
  Make();
  const BackingReference backing{.name = "base.qcow2", .format = "qcow2"};
  ASSERT_TRUE(tables_->header.CanSetBacking(backing));
  EXPECT_FALSE(tables_->header.backing());
  ASSERT_TRUE(tables_->header.SetBacking(backing));
  EXPECT_EQ(tables_->header.backing(), backing);
  EXPECT_EQ(Reread().backing, backing);
}

}  // namespace
}  // namespace chainfs::qcow2
