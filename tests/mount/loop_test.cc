// SPDX-License-Identifier: Apache-2.0
//
// Real file systems on loop devices on flat disks: made, filled, checked, and found again by
// another daemon.
#include <sys/mount.h>

#include <filesystem>

#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class MountedFileSystem {
 public:
  MountedFileSystem(const std::string& device, const std::string& type) {
    mounted_ = ::mount(device.c_str(), dir_.path().c_str(), type.c_str(), 0, nullptr) == 0;
    EXPECT_TRUE(mounted_) << "mount -t " << type << " " << device << ": " << std::strerror(errno);
  }
  ~MountedFileSystem() { Unmount(); }
  MountedFileSystem(const MountedFileSystem&) = delete;
  MountedFileSystem& operator=(const MountedFileSystem&) = delete;

  std::string operator/(const std::string& name) const { return dir_ / name; }
  void Unmount() {
    if (!mounted_) return;
    mounted_ = false;
    if (::umount2(dir_.path().c_str(), 0) == 0) return;
    ADD_FAILURE() << "umount: " << std::strerror(errno);
    ::umount2(dir_.path().c_str(), MNT_DETACH);
  }

 private:
  const TempDir dir_;
  bool mounted_ = false;
};

void MakeFileSystem(const std::string& type, const std::string& device) {
  if (type == "ext4") {
    MustRun({"mkfs.ext4", "-q", "-F", device});
  } else {
    MustRun({"mkfs.xfs", "-q", "-f", device});
  }
}

void CheckFileSystem(const std::string& type, const std::string& device) {
  if (type == "ext4") {
    MustRun({"e2fsck", "-f", "-n", device});
  } else {
    MustRun({"xfs_repair", "-n", device});
  }
}

// A tree of files, and its checksums.
std::string Fill(const std::string& top, Random& random) {
  for (int i = 0; i < 40; ++i) {
    const std::string folder = top + "/" + std::to_string(i % 5);
    fs::create_directories(folder);
    WriteRandomFile(folder + "/" + std::to_string(i), 1 + random.Below(300'000), random);
  }
  return MustRun({"/bin/sh", "-c",
                  "cd \"$1\" && find . -type f -print0 | sort -z | xargs -0 sha256sum", "sh", top});
}

std::string Sums(const std::string& top) {
  return MustRun({"/bin/sh", "-c",
                  "cd \"$1\" && find . -type f -print0 | sort -z | xargs -0 sha256sum", "sh", top});
}

struct Case {
  std::string type;
  std::string direct_io;
};

class LoopTest : public testing::TestWithParam<Case> {};

TEST_P(LoopTest, AFileSystemLivesOnAFlatDisk) {
  const auto& [type, direct_io] = GetParam();
  Random random;
  const TempDir dir;
  const TempDir moved;
  CreateQcow2(dir / "base.qcow2", {.size = "320M"});
  CreateQcow2(dir / "vm.qcow2", {.backing = "base.qcow2"});
  std::string sums;
  {
    Daemon daemon({dir.path()});
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    {
      const LoopDevice loop(daemon / "vm.raw", direct_io);
      MakeFileSystem(type, loop.device());
      MountedFileSystem mounted(loop.device(), type);
      sums = Fill(mounted / "files", random);
      ASSERT_EQ(Order(daemon / "vm.raw", "snapshot"), 0) << LastError(daemon / "vm.raw");
      sums += Fill(mounted / "more", random);
      ::sync();
      // Freed blocks become holes.
      WriteRandomFile(mounted / "ballast", 8 << 20, random);
      ::sync();
      fs::remove(mounted / "ballast");
      const CommandResult trimmed = RunCommand({"fstrim", "-v", mounted / ""});
      EXPECT_TRUE(trimmed.ok()) << trimmed.Describe();
      StreamToEnd(daemon / "vm.raw");
      EXPECT_EQ(Sums(mounted / "files") + Sums(mounted / "more"), sums);
      mounted.Unmount();
      CheckFileSystem(type, loop.device());
    }
    EXPECT_EQ(LayersOf(daemon / "vm.raw").size(), 1u);
    EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  }
  // The new active layer alone is the disk.
  fs::path active;
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    const std::string name = entry.path().filename();
    if (name != "vm.qcow2" && name != "base.qcow2" && name != ".chainfs") active = entry.path();
  }
  ASSERT_FALSE(active.empty());
  EXPECT_EQ(CheckImage(active), 0);
  fs::rename(active, moved / "elsewhere.qcow2");
  Daemon daemon({moved.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  {
    const LoopDevice loop(daemon / "elsewhere.raw", direct_io);
    CheckFileSystem(type, loop.device());
    const MountedFileSystem mounted(loop.device(), type);
    EXPECT_EQ(Sums(mounted / "files") + Sums(mounted / "more"), sums);
  }
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
}

INSTANTIATE_TEST_SUITE_P(FileSystems, LoopTest,
                         testing::Values(Case{"ext4", "on"}, Case{"ext4", "off"}, Case{"xfs", "on"},
                                         Case{"xfs", "off"}),
                         [](const auto& given) {
                           return given.param.type + "_direct_io_" + given.param.direct_io;
                         });

}  // namespace
}  // namespace chainfs
