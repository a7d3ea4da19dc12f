// SPDX-License-Identifier: Apache-2.0
//
// Internal snapshots on the mount: made by qemu-img, read as disks, and kept while the disk of
// their image is written; qemu-img goes back to them afterwards.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <memory>

#include "tests/mount/control.h"
#include "tests/mount/daemon.h"
#include "tests/mount/images.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 4 << 20;

TEST(MountedSnapshotsTest, AreDisksAndOutliveWhatGuestsWrite) {
  const TempDir dir;
  const TempDir outside;
  Random random;
  CreateQcow2(dir / "base.qcow2", {.size = std::to_string(kSize)});
  QemuIo(dir / "base.qcow2", "qcow2", RandomWrites(random, kSize, 20));
  CreateQcow2(dir / "vm.qcow2", {.backing = "base.qcow2"});
  QemuIo(dir / "vm.qcow2", "qcow2", RandomWrites(random, kSize, 20));
  MustRun({"qemu-img", "snapshot", "-c", "monday", dir / "vm.qcow2"});
  const std::string monday = outside / "monday.raw";
  Flatten(dir / "vm.qcow2", "qcow2", monday);
  QemuIo(dir / "vm.qcow2", "qcow2", RandomWrites(random, kSize, 20));
  const std::string model = outside / "model.raw";
  Flatten(dir / "vm.qcow2", "qcow2", model);
  {
    Daemon daemon({dir.path()});
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    const std::string disk = daemon / "vm.raw";
    const std::string snapshot = daemon / "vm@monday.raw";
    EXPECT_TRUE(SameContents(snapshot, monday));
    struct stat status = {};
    ASSERT_EQ(::stat(snapshot.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0222, 0u);
    EXPECT_EQ(status.st_size, static_cast<off_t>(kSize));
    EXPECT_EQ(Status(snapshot, "info")["internal-snapshot"], true);
    EXPECT_EQ(Status(disk, "chain")[0]["internal-snapshots"], 1);
    for (const std::string& command : RandomWrites(random, kSize, 60)) {
      const std::string same = command.starts_with("discard")
                                   ? "write -z" + command.substr(std::string("discard").size())
                                   : command;
      QemuIo(disk, "raw", {same});
      QemuIo(model, "raw", {same});
    }
    EXPECT_TRUE(SameContents(disk, model));
    EXPECT_TRUE(SameContents(snapshot, monday));
    EXPECT_NE(Order(disk, "stream", ""), 0);
    EXPECT_TRUE(LastError(disk).contains("would damage its internal snapshot \"monday\""))
        << LastError(disk);
    EXPECT_NE(Order(snapshot, "snapshot", ""), 0);
    EXPECT_TRUE(LastError(snapshot).contains("vm@monday is an internal snapshot"))
        << LastError(snapshot);
    EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  }
  EXPECT_EQ(CheckImage(dir / "vm.qcow2"), 0);
  MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir / "vm.qcow2", model});
  MustRun({"qemu-img", "snapshot", "-a", "monday", dir / "vm.qcow2"});
  MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir / "vm.qcow2", monday});
  EXPECT_EQ(CheckImage(dir / "vm.qcow2"), 0);
}

}  // namespace
}  // namespace chainfs
