// SPDX-License-Identifier: Apache-2.0
//
// Snapshots of several disks at once: all of them or none.
#include "blocklayer/catalog/group_snapshotter.h"

#include <filesystem>

#include "blocklayer/catalog/group_record.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class GroupSnapshotTest : public CatalogTest {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b", "c"}) MakeQcow2(std::string(name) + ".qcow2");
    ASSERT_TRUE(OpenAll());
  }
  std::vector<GroupMember> All() const {
    std::vector<GroupMember> members;
    for (const char* name : {"a", "b", "c"}) {
      members.push_back({.disk = catalog_->Find(name), .request = {}});
    }
    return members;
  }
  size_t Depth(const char* name) const {
    const DiskPtr disk = catalog_->Find(name);
    EXPECT_NE(disk, nullptr) << name << ": " << BrokenError(name).message;
    return disk == nullptr ? 0 : disk->chain()->depth();
  }
  bool AnyRecord(std::string_view prefix) const {
    const std::string directory = At(".chainfs");
    if (!std::filesystem::exists(directory)) return false;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      if (entry.path().filename().string().starts_with(prefix)) return true;
    }
    return false;
  }
};

TEST_F(GroupSnapshotTest, AllDisksMove) {
  {
    const Result<Layers> overlays = catalog_->moves().SnapshotTogether({.members = All()});
    ASSERT_TRUE(overlays) << overlays.error().message;
    ASSERT_EQ(overlays->size(), 3u);
    EXPECT_EQ((*overlays)[1]->path, At("b.1.qcow2"));
  }
  EXPECT_FALSE(AnyRecord("group-")) << "each chain says so itself";
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(Depth(name), 2u);
    Fill(catalog_->Find(name), 0, 512, 'x');
  }
  ASSERT_TRUE(OpenAll());
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(Depth(name), 2u);
    EXPECT_EQ(Peek(catalog_->Find(name), 0, 1), "x");
    EXPECT_FALSE(catalog_->Find(name)->read_only());
  }
}

TEST_F(GroupSnapshotTest, WhenOneCannotNoneDoes) {
  std::vector<GroupMember> members = All();
  members[2].request.target = "a.qcow2";
  const Result<Layers> refused = catalog_->moves().SnapshotTogether({.members = members});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kExists) << refused.error().message;
  // Two of one name pass the plan; the second one cannot be made.
  members[1].request.target = "new.qcow2";
  members[2].request.target = "new.qcow2";
  EXPECT_FALSE(catalog_->moves().SnapshotTogether({.members = members}));
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_EQ(Depth(name), 1u);
    Fill(catalog_->Find(name), 0, 512, 'y');
  }
  EXPECT_FALSE(AnyRecord("chain-"));
  EXPECT_FALSE(std::filesystem::exists(At("new.qcow2")));
  EXPECT_FALSE(std::filesystem::exists(At("a.1.qcow2")));
}

TEST_F(GroupSnapshotTest, TheSameDiskTwiceAndNoDiskAreRefused) {
  std::vector<GroupMember> members = All();
  members.push_back(members.front());
  EXPECT_EQ(catalog_->moves().SnapshotTogether({.members = members}).error().kind,
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(catalog_->moves().SnapshotTogether({}).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(GroupSnapshotTest, WhatAGroupHasDecidedHasHappened) {
  // As after a crash between the record of the group and those of the chains.
  MakeOverlay("a.1.qcow2", "a.qcow2");
  MakeOverlay("b.1.qcow2", "b.qcow2");
  catalog_.reset();
  std::filesystem::create_directory(At(".chainfs"));
  std::filesystem::permissions(At(".chainfs"), std::filesystem::perms::owner_all);
  const auto announce = [&](const std::string& name) {
    ChainRecord record{.name = name,
                       .active = At(name + ".qcow2"),
                       .format = ImageFormat::kQcow2,
                       .origin = At(name + ".qcow2"),
                       .backing = {},
                       .next = At(name + ".1.qcow2"),
                       .roots = {}};
    record.group = "1234";
    WriteTextFile(At(".chainfs/chain-" + name), FormatChainRecord(record, dir_.path()));
    std::filesystem::permissions(At(".chainfs/chain-" + name), std::filesystem::perms::owner_read);
  };
  announce("a");
  announce("b");
  WriteTextFile(At(".chainfs/group-1234"), "{\n  \"version\": 2,\n  \"group\": \"1234\"\n}\n");
  std::filesystem::permissions(At(".chainfs/group-1234"), std::filesystem::perms::owner_read);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Depth("a"), 2u);
  EXPECT_EQ(Depth("b"), 2u);
  EXPECT_FALSE(AnyRecord("group-"));
  // As after a crash before that record went: all chains say so themselves.
  catalog_.reset();
  WriteTextFile(At(".chainfs/group-1234"), "{\n  \"version\": 2,\n  \"group\": \"1234\"\n}\n");
  std::filesystem::permissions(At(".chainfs/group-1234"), std::filesystem::perms::owner_read);
  ASSERT_TRUE(OpenAll());
  EXPECT_EQ(Depth("a"), 2u);
  EXPECT_EQ(Depth("b"), 2u);
  EXPECT_FALSE(AnyRecord("group-"));
}

}  // namespace
}  // namespace chainfs
