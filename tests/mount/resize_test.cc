// SPDX-License-Identifier: Apache-2.0
//
// Disks that are resized by a command while programs have them open.
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <filesystem>

#include "blocklayer/base/unique_fd.h"
#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"

namespace chainfs {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class ResizeTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(dir_ / "images");
    MustRun({"qemu-img", "create", "-q", "-f", "qcow2", dir_ / "images/base.qcow2", "8M"});
    MustRun({"qemu-io", "-f", "qcow2", dir_ / "images/base.qcow2", "-c", "write -P 9 0 8M"});
    MustRun({"qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2",
             dir_ / "images/vm.qcow2", "6M"});
  }
  static uint64_t SizeOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0);
    return static_cast<uint64_t>(st.st_size);
  }
  static bool HasSize(const std::string& path, uint64_t size) {
    return Eventually([&] { return SizeOf(path) == size; });
  }

  const TempDir dir_;
};

TEST_F(ResizeTest, OpenProgramsSeeTheNewSize) {
  Daemon daemon({dir_ / "images"});
  ASSERT_TRUE(daemon.serving());
  const std::string disk = daemon / "vm.raw";
  const UniqueFd fd(::open(disk.c_str(), O_RDWR));
  ASSERT_EQ(SizeOf(disk), 6 * kMiB);
  ASSERT_EQ(Order(disk, "resize", "size=7M"), 0) << LastError(disk);
  EXPECT_TRUE(HasSize(disk, 7 * kMiB));
  // The base, which is longer, does not shine through.
  std::vector<char> data(kMiB, 'x');
  ASSERT_EQ(::pread(fd.get(), data.data(), data.size(), 6 * kMiB), static_cast<ssize_t>(kMiB));
  EXPECT_EQ(data, std::vector<char>(kMiB));
  EXPECT_EQ(Order(disk, "resize", "size=5M"), EINVAL);
  EXPECT_NE(LastError(disk).find("shrink=yes"), std::string::npos) << LastError(disk);
  ASSERT_EQ(Order(disk, "resize", "size=5M,shrink=yes"), 0) << LastError(disk);
  EXPECT_TRUE(HasSize(disk, 5 * kMiB));
  EXPECT_EQ(::pread(fd.get(), data.data(), data.size(), 5 * kMiB), 0);
  ASSERT_EQ(Order(disk, "resize", "size=6M"), 0) << LastError(disk);
  EXPECT_TRUE(HasSize(disk, 6 * kMiB));
  ASSERT_EQ(::pread(fd.get(), data.data(), data.size(), 5 * kMiB), static_cast<ssize_t>(kMiB));
  EXPECT_EQ(data, std::vector<char>(kMiB)) << "what was cut off does not come back";
  ASSERT_EQ(::pread(fd.get(), data.data(), data.size(), 4 * kMiB), static_cast<ssize_t>(kMiB));
  EXPECT_EQ(data, std::vector<char>(kMiB, 9));
}

// What qemu-img resize does to the same images, cut off and grown again.
TEST_F(ResizeTest, AsQemuImgDoesIt) {
  std::filesystem::copy(dir_ / "images", dir_ / "copy");
  {
    Daemon daemon({dir_ / "images"});
    ASSERT_TRUE(daemon.serving());
    const std::string disk = daemon / "vm.raw";
    ASSERT_EQ(Order(disk, "resize", "size=3M,shrink=yes"), 0) << LastError(disk);
    ASSERT_EQ(Order(disk, "resize", "size=12M"), 0) << LastError(disk);
  }
  const std::string mine = dir_ / "images/vm.qcow2";
  const std::string theirs = dir_ / "copy/vm.qcow2";
  MustRun({"qemu-img", "resize", "-q", "-f", "qcow2", "--shrink", theirs, "3M"});
  MustRun({"qemu-img", "resize", "-q", "-f", "qcow2", theirs, "12M"});
  MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", mine, theirs});
  MustRun({"qemu-img", "check", "-q", "-f", "qcow2", mine});
}

TEST_F(ResizeTest, ChainctlTellsLoopDevices) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has loop devices";
  Daemon daemon({dir_ / "images"});
  ASSERT_TRUE(daemon.serving());
  const std::string disk = daemon / "vm.raw";
  const LoopDevice loop(disk, "off");
  ASSERT_FALSE(loop.device().empty());
  const CommandResult grown = RunCommand({BinaryPath("chainctl"), "resize", disk, "10MiB"});
  ASSERT_TRUE(grown.ok()) << grown.Describe();
  EXPECT_NE(grown.out.find(loop.device()), std::string::npos) << grown.out;
  const UniqueFd fd(::open(loop.device().c_str(), O_RDONLY));
  uint64_t bytes = 0;
  ASSERT_EQ(::ioctl(fd.get(), BLKGETSIZE64, &bytes), 0);
  EXPECT_EQ(bytes, 10 * kMiB);
}

TEST_F(ResizeTest, WithAWritebackCacheTheKernelWouldNotHear) {
  Daemon daemon({dir_ / "images"}, {"-o", "writeback_cache"});
  ASSERT_TRUE(daemon.serving());
  EXPECT_EQ(Order(daemon / "vm.raw", "resize", "size=7M"), EOPNOTSUPP);
  EXPECT_NE(LastError(daemon / "vm.raw").find("writeback_cache"), std::string::npos);
}

}  // namespace
}  // namespace chainfs
