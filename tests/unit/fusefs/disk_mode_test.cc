// SPDX-License-Identifier: Apache-2.0
//
// What a disk's mode may be at most (FS-15 to FS-18).
#include "fusefs/disk_mode.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocklayer/catalog/catalog.h"
#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {
namespace {

FileStat OwnedBy(uid_t owner, gid_t group, mode_t permissions) {
  FileStat stat;
  stat.owner = owner;
  stat.group = group;
  stat.permissions = permissions;
  return stat;
}

ShownOwner Shown(uid_t uid, gid_t gid) {
  return {.uid = uid,
          .gid = gid,
          .uid_given = false,
          .gid_given = false,
          .daemon_uid = 0,
          .allow_other = true};
}

TEST(DiskModeTest, TheOwnerAndGroupOfTheImageKeepTheirBits) {
  EXPECT_EQ(BitsFor(Shown(0, 0), OwnedBy(0, 0, 0640)), 0640u);
  EXPECT_EQ(BitsFor(Shown(0, 0), OwnedBy(0, 0, 0604)), 0604u);
}

TEST(DiskModeTest, AGivenOwnerTakesThePlaceOfTheImages) {
  ShownOwner shown = Shown(65534, 0);
  shown.uid_given = true;
  EXPECT_EQ(BitsFor(shown, OwnedBy(1000, 0, 0600)), 0600u);
  EXPECT_EQ(BitsFor(shown, OwnedBy(1000, 0, 0400)), 0400u);
}

TEST(DiskModeTest, TheDaemonHasWhatItCouldOpen) {
  EXPECT_EQ(BitsFor(Shown(0, 0), OwnedBy(1000, 0, 0440)), 0740u);
}

TEST(DiskModeTest, AnotherGroupIsOthers) {
  EXPECT_EQ(BitsFor(Shown(0, 100), OwnedBy(0, 200, 0660)), 0600u);
  EXPECT_EQ(BitsFor(Shown(0, 100), OwnedBy(0, 200, 0664)), 0644u);
  // Members of the image's group, who have nothing, are among the others of the mount.
  EXPECT_EQ(BitsFor(Shown(0, 100), OwnedBy(0, 200, 0604)), 0600u);
  ShownOwner given = Shown(0, 100);
  given.gid_given = true;
  EXPECT_EQ(BitsFor(given, OwnedBy(0, 200, 0660)), 0660u);
}

TEST(DiskModeTest, DirectoriesCountWhereOthersAreLetIn) {
  const std::vector<FileStat> way = {OwnedBy(0, 0, 0755), OwnedBy(0, 5, 0750), OwnedBy(0, 0, 0755)};
  EXPECT_EQ(BitsBeyond(Shown(0, 5), way), 0070u);
  EXPECT_EQ(BitsBeyond(Shown(0, 0), way), 0u);
  ShownOwner given = Shown(0, 9);
  given.gid_given = true;
  EXPECT_EQ(BitsBeyond(given, way), 0070u);
  ShownOwner alone = Shown(0, 0);
  alone.allow_other = false;
  EXPECT_EQ(BitsBeyond(alone, way), 0077u);
}

TEST(DiskModeTest, AllLayersNarrowReading) {
  const TempDir dir;
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  WriteTextFile(dir / "a.raw", "");
  ASSERT_EQ(::truncate((dir / "a.raw").c_str(), 4096), 0);
  ASSERT_EQ(::chmod((dir / "a.raw").c_str(), 0640), 0);
  auto catalog = Catalog::Open({{.path = dir / "a.raw"}}, {});
  ASSERT_TRUE(catalog) << catalog.error().message;
  {
    const DiskPtr disk = (*catalog)->Find("a");
    ASSERT_NE(disk, nullptr);
    ShownOwner shown = Shown(::getuid(), ::getgid());
    shown.daemon_uid = ::getuid();
    shown.allow_other = false;
    EXPECT_EQ(PermittedBits(shown, *disk), 0640u);
    ASSERT_TRUE((*catalog)->Snapshot(disk, {}));
    struct stat st = {};
    ASSERT_EQ(::stat((dir / "a.1.qcow2").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0640u);
    ASSERT_EQ(::chmod((dir / "a.1.qcow2").c_str(), 0666), 0);
    EXPECT_EQ(PermittedBits(shown, *disk), 0662u) << "the layer below counts, too";
  }
  EXPECT_TRUE((*catalog)->Close());
}

}  // namespace
}  // namespace chainfs::fusefs
