// SPDX-License-Identifier: Apache-2.0
//
// What a revert has dropped is removed only where it is the overlay that is meant.
#include "blocklayer/catalog/dropped_layers.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>

#include "blocklayer/io/posix.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class DroppedLayersTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("vm.qcow2");
    ASSERT_TRUE(sources_.Add({.path = dir_.path()}));
  }

  uint64_t InodeOf(const std::string& name) const {
    struct stat st = {};
    EXPECT_EQ(::stat(At(name).c_str(), &st), 0) << name;
    return st.st_ino;
  }
  // 0 where the host does not say.
  int64_t BirthOf(const std::string& name) const {
    const auto file = OpenPosixDirectory(dir_.path()).value()->Open(name, OpenMode::kReadOnly);
    return file ? RecordedFileOf(**file)->born : 0;
  }
  bool Exists(const std::string& name) const { return std::filesystem::exists(At(name)); }
  ChainRecord::Dropped Drop(const std::string& name) const {
    return {.path = At(name), .file = {.inode = InodeOf(name), .born = BirthOf(name)}};
  }
  Status Remove(std::vector<ChainRecord::Dropped> drops) {
    ChainRecord record{.name = "vm",
                       .active = At("vm.qcow2"),
                       .origin = At("vm.qcow2"),
                       .backing = {},
                       .next = {},
                       .drops = std::move(drops),
                       .roots = {}};
    RecordDirectory& store = sources_.records(0);
    CHAINFS_TRY(store.Write("chain-vm", FormatChainRecord(record, store.source_path())));
    return dropped_.Remove(store, "chain-vm", record, nullptr);
  }
  bool HasRecord() const { return Exists(".chainfs/chain-vm"); }

  Roots roots_{nullptr};
  Sources sources_{roots_, ""};
  LeftOutMarks marks_{roots_, sources_, false};
  DroppedLayers dropped_{roots_, marks_};
};

TEST_F(DroppedLayersTest, OverlaysGoAndThenTheRecord) {
  MakeOverlay("vm.1.qcow2", "vm.qcow2");
  MakeOverlay("vm.2.qcow2", "vm.1.qcow2");
  ASSERT_TRUE(Remove({Drop("vm.2.qcow2"), Drop("vm.1.qcow2")}));
  EXPECT_FALSE(Exists("vm.2.qcow2"));
  EXPECT_FALSE(Exists("vm.1.qcow2"));
  EXPECT_TRUE(Exists("vm.qcow2"));
  EXPECT_FALSE(HasRecord());
}

TEST_F(DroppedLayersTest, WhatIsNoOverlayStays) {
  MakeQcow2("alone.qcow2");
  MakeRaw("disk.raw");
  MakeRaw("notes.txt");
  WriteTextFile(At("empty.qcow2"), "");
  ASSERT_TRUE(
      Remove({Drop("alone.qcow2"), Drop("disk.raw"), Drop("notes.txt"), Drop("empty.qcow2")}));
  for (const char* const name : {"alone.qcow2", "disk.raw", "notes.txt", "empty.qcow2"}) {
    EXPECT_TRUE(Exists(name)) << name;
  }
}

TEST_F(DroppedLayersTest, AnotherFileOfTheNameStays) {
  MakeOverlay("vm.1.qcow2", "vm.qcow2");
  const ChainRecord::Dropped dropped{.path = At("vm.1.qcow2"),
                                     .file = {.inode = InodeOf("vm.1.qcow2") + 1}};
  ASSERT_TRUE(Remove({dropped}));
  EXPECT_TRUE(Exists("vm.1.qcow2"));
  EXPECT_FALSE(HasRecord());
}

// A user has removed it, and the next file got its inode number.
TEST_F(DroppedLayersTest, AnotherFileOfTheNameAndTheInodeNumberStays) {
  MakeOverlay("vm.1.qcow2", "vm.qcow2");
  ChainRecord::Dropped dropped = Drop("vm.1.qcow2");
  if (dropped.file.born == 0) GTEST_SKIP() << "the host does not say when a file was made";
  dropped.file.born -= 1;
  ASSERT_TRUE(Remove({dropped}));
  EXPECT_TRUE(Exists("vm.1.qcow2"));
  EXPECT_FALSE(HasRecord());
}

TEST_F(DroppedLayersTest, WhatARecordOfAnEarlierVersionMeansGoes) {
  MakeOverlay("vm.1.qcow2", "vm.qcow2");
  ASSERT_TRUE(Remove({{.path = At("vm.1.qcow2"), .file = {.inode = InodeOf("vm.1.qcow2")}}}));
  EXPECT_FALSE(Exists("vm.1.qcow2"));
}

// Nobody may look at it just now, so nobody can say what it is.
TEST_F(DroppedLayersTest, WhatCannotBeLookedAtStaysAndSoDoesTheRecord) {
  std::filesystem::create_directory(At("vm.1.qcow2"));
  EXPECT_FALSE(Remove({Drop("vm.1.qcow2")}));
  EXPECT_TRUE(Exists("vm.1.qcow2"));
  EXPECT_TRUE(HasRecord());
}

}  // namespace
}  // namespace chainfs
