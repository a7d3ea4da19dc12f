// SPDX-License-Identifier: Apache-2.0
//
// Changes of terabytes go on part by part: others get in between, and they can be ended.
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class LongChangeTest : public CatalogTest {
 protected:
  static constexpr uint64_t kTib = 1ull << 40;

  // A disk of 1 TiB on a base that is as long.
  DiskPtr OpenChain(const std::string& size) {
    Qemu({"qemu-img", "create", "-q", "-f", "qcow2", At("base.qcow2"), "1T"});
    Qemu({"qemu-img", "create", "-q", "-f", "qcow2", "-b", At("base.qcow2"), "-F", "qcow2",
          At("vm.qcow2"), size});
    const Status opened = OpenAll();
    EXPECT_TRUE(opened);
    return catalog_->Find("vm");
  }
};

TEST_F(LongChangeTest, OthersGetInBetween) {
  const DiskPtr disk = OpenChain("1T");
  int parts = 0;
  // A snapshot needs the disk for itself; here it is made by the one who zeroes.
  const Status zeroed = disk->WriteZeroes(GuestOffset(0), 200ull << 20, false, [&] {
    if (parts++ == 0) {
      EXPECT_TRUE(catalog_->Snapshot(disk, {}));
    }
    return false;
  });
  EXPECT_TRUE(zeroed);
  EXPECT_GE(parts, 3);
  const auto extent = disk->Map(GuestOffset(0), 200ull << 20, MapDetail::kPrecise);
  ASSERT_TRUE(extent);
  EXPECT_EQ(extent->kind, ExtentKind::kZero);
}

TEST_F(LongChangeTest, EndsWhenItIsTold) {
  const DiskPtr disk = OpenChain("1T");
  int parts = 0;
  const auto stop = [&] { return ++parts == 2; };
  const Status zeroed = disk->WriteZeroes(GuestOffset(0), kTib, false, stop);
  ASSERT_FALSE(zeroed);
  EXPECT_EQ(zeroed.error().kind, ErrorKind::kCancelled);
  parts = 0;
  const Status discarded = disk->Discard(GuestOffset(0), kTib, stop);
  ASSERT_FALSE(discarded);
  EXPECT_EQ(discarded.error().kind, ErrorKind::kCancelled);
}

TEST_F(LongChangeTest, WhatHoldsNothingIsPassedOver) {
  MakeQcow2("vm.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr disk = catalog_->Find("vm");
  ASSERT_TRUE(disk->Grow(kTib));
  Fill(disk, kTib / 2, 4096, 'x');
  int parts = 0;
  const auto count = [&] {
    ++parts;
    return false;
  };
  ASSERT_TRUE(disk->WriteZeroes(GuestOffset(0), kTib, false, count));
  EXPECT_LT(parts, 100);
  EXPECT_EQ(Peek(disk, kTib / 2, 4096), std::string(4096, '\0'));
  EXPECT_EQ(disk->WriteZeroes(GuestOffset(0), kTib + 512, false, count).error().kind,
            ErrorKind::kNoSpace);
}

TEST_F(LongChangeTest, GrowingOverALongerBaseCanBeEndedWithASizeBetween) {
  const DiskPtr disk = OpenChain("1M");
  int parts = 0;
  const Status grown = disk->Grow(kTib, [&] { return ++parts == 2; });
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(disk->size(), 3ull << 30);
}

}  // namespace
}  // namespace chainfs
