// SPDX-License-Identifier: Apache-2.0
//
// What a file system stands on, by a list of mounts and a sysfs that the test has made. (The
// host's: tests/mount/own_mount_test.cc.)
#include "blocklayer/io/device_stack.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>

#include "blocklayer/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class DeviceStackTest : public testing::Test {
 protected:
  DeviceStackTest() {
    Mount("1", "8:1", "/", "ext4", "/dev/sda1");
    Mount("2", "0:50", "/mnt/disks", "fuse.chainfs", "chainfs");
    Disk("sda", "8:0");
    Partition("sda", "sda1", "8:1");
  }
  void Mount(const std::string& id, const std::string& device, const std::string& path,
             const std::string& type, const std::string& source) {
    mounts_.push_back({.id = id, .device = device, .path = path, .type = type, .source = source});
  }
  fs::path At(const std::string& name) const { return sys_ / name; }
  void Link(const fs::path& directory, const std::string& name, const std::string& device) {
    fs::create_directories(At("dev/block"));
    fs::create_directories(At("class/block"));
    fs::create_directory_symlink(directory, At("dev/block/" + device));
    fs::create_directory_symlink(directory, At("class/block/" + name));
  }
  fs::path Disk(const std::string& name, const std::string& device) {
    const fs::path directory = At("devices/" + name);
    fs::create_directories(directory / "slaves");
    Link(directory, name, device);
    return directory;
  }
  void Partition(const std::string& disk, const std::string& name, const std::string& device) {
    const fs::path directory = At("devices/" + disk + "/" + name);
    fs::create_directories(directory);
    WriteTextFile(directory / "partition", "1\n");
    Link(directory, name, device);
  }
  void Loop(const std::string& name, const std::string& device, const std::string& file) {
    const fs::path directory = Disk(name, device);
    fs::create_directories(directory / "loop");
    WriteTextFile(directory / "loop/backing_file", file + "\n");
  }
  void Over(const std::string& name, const std::string& device, const std::string& slave) {
    const fs::path directory = Disk(name, device);
    fs::create_directory_symlink(At("devices/" + slave), directory / "slaves" / slave);
  }
  bool StandsOnOurs(const std::string& mount) const {
    return DeviceStack(mounts_, sys_.path()).StandsOn(mount, ::makedev(0, 50));
  }

  const TempDir sys_;
  std::vector<MountEntry> mounts_;
};

TEST_F(DeviceStackTest, KnowsTheFileSystemItselfWhereverItIsMounted) {
  Mount("3", "0:50", "/elsewhere", "fuse.chainfs", "chainfs");
  EXPECT_TRUE(StandsOnOurs("2"));
  EXPECT_TRUE(StandsOnOurs("3"));
  EXPECT_FALSE(StandsOnOurs("1"));
  EXPECT_FALSE(StandsOnOurs("99"));
}

TEST_F(DeviceStackTest, LooksBehindLoopDevicesPartitionsAndMappings) {
  Loop("loop0", "7:0", "/mnt/disks/vm.raw");
  Partition("loop0", "loop0p1", "259:0");
  Over("dm-0", "253:0", "loop0");
  Loop("loop1", "7:1", "/var/other.raw");
  Loop("loop2", "7:2", "/mnt/disks-not/vm.raw");
  Mount("10", "7:0", "/a", "ext4", "/dev/loop0");
  Mount("11", "259:0", "/b", "ext4", "/dev/loop0p1");
  Mount("12", "253:0", "/c", "xfs", "/dev/mapper/x");
  Mount("13", "7:1", "/d", "ext4", "/dev/loop1");
  Mount("14", "7:2", "/e", "ext4", "/dev/loop2");
  Mount("15", "0:60", "/f", "btrfs", "/dev/loop0");
  Mount("16", "0:61", "/g", "nfs4", "/dev/loop0");
  for (const char* const ours : {"10", "11", "12", "15"}) EXPECT_TRUE(StandsOnOurs(ours)) << ours;
  for (const char* const other : {"13", "14", "16"}) EXPECT_FALSE(StandsOnOurs(other)) << other;
}

TEST_F(DeviceStackTest, LooksThroughALoopDeviceOnAFileSystemOnAnother) {
  Loop("loop0", "7:0", "/mnt/disks/vm.raw");
  Mount("10", "7:0", "/guest", "ext4", "/dev/loop0");
  Loop("loop1", "7:1", "/guest/inner.raw");
  Mount("11", "7:1", "/inner", "ext4", "/dev/loop1");
  EXPECT_TRUE(StandsOnOurs("11"));
}

// What is mounted later hides what is there; sysfs that goes in circles ends.
TEST_F(DeviceStackTest, TakesTheUppermostMountAndEnds) {
  Mount("9", "8:1", "/mnt/disks", "ext4", "/dev/sda1");
  Loop("loop0", "7:0", "/mnt/disks/vm.raw");
  Mount("10", "7:0", "/a", "ext4", "/dev/loop0");
  EXPECT_FALSE(StandsOnOurs("10"));
  Loop("loop1", "7:1", "/b/x");
  Mount("11", "7:1", "/b", "ext4", "/dev/loop1");
  EXPECT_FALSE(StandsOnOurs("11"));
}

TEST(StandsOnDeviceTest, OfWhatIsOpen) {
  const TempDir dir;
  const UniqueFd fd(::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat st = {};
  ASSERT_EQ(::fstat(fd.get(), &st), 0);
  EXPECT_TRUE(StandsOnDevice(fd.get(), st.st_dev));
  EXPECT_FALSE(StandsOnDevice(fd.get(), ::makedev(0, 0xfffff)));
}

}  // namespace
}  // namespace chainfs
