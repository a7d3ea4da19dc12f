// SPDX-License-Identifier: Apache-2.0
//
// Internal snapshots as disks: what they are called, what they show, and how long.
#include "blocklayer/catalog/snapshot_disks.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

class SnapshotDisksTest : public CatalogTest {
 protected:
  // base <- vm1; vm1 shows 'a', and in its snapshot "one" the bytes of the base in the second half.
  void SetUp() override {
    MakeQcow2("base.qcow2");
    Io("base.qcow2", "write -P 98 0 1M");
    MakeOverlay("vm1.qcow2", "base.qcow2");
    Io("vm1.qcow2", "write -P 97 0 512k");
    TakeSnapshot("one");
    Io("vm1.qcow2", "write -P 99 0 1M");
  }
  void Io(const std::string& name, const std::string& command) {
    Qemu({"qemu-io", "-f", "qcow2", "-c", command, At(name)});
  }
  void TakeSnapshot(const std::string& name) {
    Qemu({"qemu-img", "snapshot", "-c", name, At("vm1.qcow2")});
  }
  void ExpectShowsOne(const DiskPtr& disk) {
    ASSERT_NE(disk, nullptr);
    EXPECT_EQ(disk->size(), kSize);
    EXPECT_EQ(Peek(disk, 0, 4096), std::string(4096, 'a'));
    EXPECT_EQ(Peek(disk, kSize / 2 - 512, 1024), std::string(512, 'a') + std::string(512, 'b'));
  }
};

TEST_F(SnapshotDisksTest, EachIsAReadOnlyDisk) {
  TakeSnapshot("");
  TakeSnapshot("a/b");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"base", "vm1", "vm1@2", "vm1@a%2Fb", "vm1@one"}));
  const DiskPtr one = catalog_->Find("vm1@one");
  ExpectShowsOne(one);
  EXPECT_TRUE(one->read_only());
  EXPECT_EQ(one->ReadOnlyReason(), "it is an internal snapshot");
  EXPECT_FALSE(one->Write(GuestOffset(0), std::vector<std::byte>(512)));
  EXPECT_FALSE(catalog_->AllowWriting(one));
  EXPECT_TRUE(one->read_only());
  EXPECT_EQ(Peek(catalog_->Find("vm1@2"), 0, 4), "cccc");
}

TEST_F(SnapshotDisksTest, WritesOfTheDiskDoNotShow) {
  ASSERT_TRUE(OpenAll());
  const DiskPtr vm1 = catalog_->Find("vm1");
  const DiskPtr one = catalog_->Find("vm1@one");
  ASSERT_FALSE(vm1->read_only()) << vm1->ReadOnlyReason();
  Fill(vm1, 0, kSize, 'z');
  ASSERT_TRUE(vm1->Flush());
  ExpectShowsOne(one);
  ASSERT_TRUE(vm1->Discard(GuestOffset(0), kSize));
  ASSERT_TRUE(vm1->Settle());
  ExpectShowsOne(one);
  Fill(vm1, 0, kSize, 'y');
  ExpectShowsOne(one);
}

// It is the same object while its image is in view, and works on for who has it open then.
TEST_F(SnapshotDisksTest, RescansKeepThem) {
  ASSERT_TRUE(OpenAll());
  const DiskPtr one = catalog_->Find("vm1@one");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("vm1@one"), one);
  std::filesystem::rename(At("vm1.qcow2"), At("gone"));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("vm1@one"), nullptr);
  ExpectShowsOne(one);
}

TEST_F(SnapshotDisksTest, TheyGoWithTheLayerThatHasThem) {
  ASSERT_TRUE(OpenAll());
  const DiskPtr one = catalog_->Find("vm1@one");
  ASSERT_TRUE(catalog_->Snapshot(catalog_->Find("vm1"), {}));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("vm1@one"), nullptr);
  size_t found = 0;
  for (const DiskPtr& disk : catalog_->Disks()) {
    if (!disk->name().ends_with("@one")) continue;
    ++found;
    ExpectShowsOne(disk);
  }
  EXPECT_EQ(found, 1u);
  ExpectShowsOne(one);
}

// A disk of a file goes before.
TEST_F(SnapshotDisksTest, AFileOfThatNameKeepsIt) {
  MakeQcow2("vm1@one.qcow2");
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Shown(), (Names{"base", "vm1", "vm1@one", "vm1@one#1"}));
  ExpectShowsOne(catalog_->Find("vm1@one#1"));
}

TEST_F(SnapshotDisksTest, ReadOnlyMountsShowThemToo) {
  ASSERT_TRUE(OpenAll({.read_only = true}));
  ExpectShowsOne(catalog_->Find("vm1@one"));
}

}  // namespace
}  // namespace chainfs
