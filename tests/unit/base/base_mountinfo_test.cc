// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/mountinfo.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(Mountinfo, KeepsTheOrderAndDecodesPaths) {
  const auto entries = ParseMountinfo(
      "21 1 254:1 / / rw,relatime - ext4 /dev/root rw\n"
      "30 21 0:40 / /mnt/with\\040space rw - fuse.chainfs /images\\011a rw,user_id=0\n"
      "31 30 7:0 / /mnt/with\\040space rw shared:1 master:2 - ext4 /dev/loop0 rw\n");
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].path, "/");
  EXPECT_EQ(entries[0].device, "254:1");
  EXPECT_EQ(entries[1].id, "30");
  EXPECT_EQ(entries[1].device, "0:40");
  EXPECT_EQ(entries[1].path, "/mnt/with space");
  EXPECT_EQ(entries[1].type, "fuse.chainfs");
  EXPECT_EQ(entries[1].source, "/images\ta");
  EXPECT_EQ(entries[2].path, "/mnt/with space");
  EXPECT_EQ(entries[2].source, "/dev/loop0");
}

TEST(Mountinfo, PassesOverWhatItCannotRead) {
  const auto entries = ParseMountinfo(
      "30 21 0:40 / /mnt/a rw - fuse.chainfs images rw\n"
      "nonsense\n"
      "\n"
      "31 21\n"
      "32 21 0:41 / /mnt/b rw - fuse.chainfs images rw\n");
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].path, "/mnt/a");
  EXPECT_EQ(entries[1].path, "/mnt/b");
  EXPECT_TRUE(ParseMountinfo("").empty());
}

TEST(Mountinfo, TellsOnWhichFileSystemAPathLies) {
  const auto mounts = ParseMountinfo(
      "21 1 254:1 / / rw - ext4 /dev/root rw\n"
      "30 21 0:40 / /mnt/a rw - fuse.chainfs images rw\n"
      "31 21 0:41 / /mnt/auto rw - autofs systemd-1 rw\n"
      "32 31 0:42 / /mnt/auto rw - fuse.chainfs images rw\n"
      "33 21 0:43 / /mnt/two rw - fuse.chainfs images rw\n"
      "34 33 0:44 / /mnt/two rw - fuse.chainfs images rw\n"
      "35 34 0:45 / /mnt/two/deeper rw - fuse.chainfs images rw\n"
      "36 21 0:40 /vm.raw /srv/vm.raw rw - fuse.chainfs images rw\n");
  EXPECT_EQ(DeviceOfPath(mounts, "/mnt/a/vm.raw"), "0:40");
  EXPECT_EQ(DeviceOfPath(mounts, "/mnt/ab/vm.raw"), "254:1");
  EXPECT_EQ(DeviceOfPath(mounts, "/mnt/auto/vm.raw"), "0:42");
  EXPECT_EQ(DeviceOfPath(mounts, "/mnt/two/vm.raw"), "") << "it may have been opened before";
  EXPECT_EQ(DeviceOfPath(mounts, "/mnt/two/deeper/vm.raw"), "0:45");
  EXPECT_EQ(DeviceOfPath(mounts, "/srv/vm.raw"), "0:40") << "a bind mount of the file";
  EXPECT_EQ(DeviceOfPath({}, "/srv/vm.raw"), "");
}

TEST(Mountinfo, SeesTheRootOfThisProcess) {
  const auto entries = OwnMounts();
  ASSERT_TRUE(entries) << entries.error().message;
  bool root = false;
  for (const MountEntry& entry : *entries) root = root || entry.path == "/";
  EXPECT_TRUE(root);
}

}  // namespace
}  // namespace chainfs
