// SPDX-License-Identifier: Apache-2.0
//
// Disks that are resized by a command while programs have them open.
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <filesystem>
#include <thread>

#include "blocklayer/base/unique_fd.h"
#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"
#include "tests/support/qmp_client.h"
#include "tests/support/random.h"

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

// A shared mapping of a file, to be written.
class Mapping {
 public:
  Mapping(const std::string& file, size_t size)
      : fd_(::open(file.c_str(), O_RDWR | O_CLOEXEC)),
        size_(size),
        bytes_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0)) {
    EXPECT_NE(bytes_, MAP_FAILED) << std::strerror(errno);
  }
  ~Mapping() { ::munmap(bytes_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  volatile char* bytes() { return static_cast<volatile char*>(bytes_); }
  int fd() const { return fd_.get(); }
  int Sync() { return ::msync(bytes_, size_, MS_SYNC); }

 private:
  const UniqueFd fd_;
  const size_t size_;
  void* const bytes_;
};

// What a program has changed in its mapping, and nobody has written yet, is data like any other.
TEST_F(ResizeTest, AMappedEndThatWasChangedIsNotEmpty) {
  MustRun({"qemu-img", "create", "-q", "-f", "raw", dir_ / "images/flat.raw", "4M"});
  Daemon daemon({dir_ / "images"});
  ASSERT_TRUE(daemon.serving());
  const std::string disk = daemon / "flat.raw";
  Mapping mapping(disk, 4 * kMiB);
  ASSERT_FALSE(HasFailure());
  mapping.bytes()[3 * kMiB + 5] = 'x';
  EXPECT_EQ(Order(disk, "resize", "size=3M,dry-run=yes"), EINVAL) << "it would be cut off";
  EXPECT_EQ(Order(disk, "resize", "size=3M"), EINVAL) << "it was cut off";
  EXPECT_EQ(SizeOf(disk), 4 * kMiB);
  char byte = 0;
  ASSERT_EQ(::pread(mapping.fd(), &byte, 1, 3 * kMiB + 5), 1);
  EXPECT_EQ(byte, 'x');
  // It goes on being shared.
  mapping.bytes()[5] = 'y';
  ASSERT_EQ(mapping.Sync(), 0);
  ASSERT_EQ(::pread(mapping.fd(), &byte, 1, 5), 1);
  EXPECT_EQ(byte, 'y');
  // What lies below the new end does not keep it from shrinking, and stays.
  mapping.bytes()[3 * kMiB + 5] = 0;
  mapping.bytes()[2 * kMiB] = 'z';
  ASSERT_EQ(mapping.Sync(), 0);
  ASSERT_EQ(::fallocate(mapping.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3 * kMiB, kMiB),
            0);
  ASSERT_EQ(Order(disk, "resize", "size=3M"), 0) << LastError(disk);
  EXPECT_TRUE(HasSize(disk, 3 * kMiB));
  ASSERT_EQ(::pread(mapping.fd(), &byte, 1, 2 * kMiB), 1);
  EXPECT_EQ(byte, 'z');
}

// Those who give the command are served by the threads that the kernel's writes wait for.
TEST_F(ResizeTest, ManyMappedDisksShrinkAtOnce) {
  constexpr int kDisks = 12;
  for (int i = 0; i < kDisks; ++i) {
    MustRun({"qemu-img", "create", "-q", "-f", "raw",
             dir_ / ("images/flat" + std::to_string(i) + ".raw"), "4M"});
  }
  Daemon daemon({dir_ / "images"}, {"-o", "threads=4"});
  ASSERT_TRUE(daemon.serving());
  std::vector<std::thread> callers;
  for (int i = 0; i < kDisks; ++i) {
    callers.emplace_back([&daemon, i] {
      const std::string disk = daemon / ("flat" + std::to_string(i) + ".raw");
      Mapping mapping(disk, 4 * kMiB);
      for (size_t at = 2 * kMiB; at < 4 * kMiB; at += 4096) mapping.bytes()[at] = 'x';
      const auto refused = [&] { return Order(disk, "resize", "size=3M") == EINVAL; };
      EXPECT_TRUE(Eventually(refused)) << LastError(disk);
      EXPECT_EQ(SizeOf(disk), 4 * kMiB);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(ResizeTest, WithOneThreadAWritersEndIsNotTakenForEmpty) {
  MustRun({"qemu-img", "create", "-q", "-f", "raw", dir_ / "images/flat.raw", "4M"});
  Daemon daemon({dir_ / "images"}, {"-o", "threads=1"});
  ASSERT_TRUE(daemon.serving());
  const std::string disk = daemon / "flat.raw";
  {
    Mapping mapping(disk, 4 * kMiB);
    mapping.bytes()[3 * kMiB + 5] = 'x';
    EXPECT_EQ(Order(disk, "resize", "size=3M"), EOPNOTSUPP);
    EXPECT_NE(LastError(disk).find("threads=1"), std::string::npos) << LastError(disk);
  }
  EXPECT_TRUE(Eventually([&] { return Order(disk, "resize", "size=3M") == EINVAL; }))
      << LastError(disk);
  EXPECT_EQ(Order(disk, "resize", "size=3M,shrink=yes"), 0) << LastError(disk);
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

uint64_t BytesOf(const std::string& device) {
  const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t bytes = 0;
  EXPECT_EQ(::ioctl(fd.get(), BLKGETSIZE64, &bytes), 0) << device << ": " << std::strerror(errno);
  return bytes;
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
  EXPECT_EQ(BytesOf(loop.device()), 10 * kMiB);
}

// Whoever gives the command.
TEST_F(ResizeTest, TheDaemonTellsLoopDevices) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has loop devices";
  MustRun({"qemu-img", "create", "-q", "-f", "raw", dir_ / "images/other.raw", "4M"});
  const std::string socket = dir_ / "qmp";
  Daemon daemon({dir_ / "images"}, {"-o", "qmp=" + socket});
  ASSERT_TRUE(daemon.serving());
  const std::string disk = daemon / "vm.raw";
  std::filesystem::copy(dir_ / "images/other.raw", dir_ / "foreign.raw");
  {
    const LoopDevice loop(disk, "off");
    const LoopDevice direct(daemon / "other.raw", "on");
    const LoopDevice foreign(dir_ / "foreign.raw", "off");
    ASSERT_FALSE(loop.device().empty() || direct.device().empty() || foreign.device().empty());
    // A host grows a file behind the back of a device that is not ours.
    std::filesystem::resize_file(dir_ / "foreign.raw", 6 * kMiB);
    const auto has = [](const LoopDevice& device, uint64_t bytes) {
      return Eventually([&] { return BytesOf(device.device()) == bytes; });
    };
    ASSERT_EQ(Order(disk, "resize", "size=10M"), 0) << LastError(disk);
    EXPECT_TRUE(has(loop, 10 * kMiB)) << BytesOf(loop.device()) << daemon.Log();
    ASSERT_EQ(Order(disk, "resize", "size=7M"), 0) << LastError(disk);
    EXPECT_TRUE(has(loop, 7 * kMiB)) << BytesOf(loop.device());
    {
      QmpClient client(socket);
      ASSERT_TRUE(client.connected());
      ASSERT_TRUE(client.Return("qmp_capabilities").is_object());
      EXPECT_TRUE(
          client.Return("block_resize", {{"device", "vm"}, {"size", 12 * kMiB}}).is_object());
    }
    EXPECT_TRUE(has(loop, 12 * kMiB)) << BytesOf(loop.device());
    std::filesystem::resize_file(disk, 13 * kMiB);
    EXPECT_TRUE(has(loop, 13 * kMiB)) << BytesOf(loop.device());
    ASSERT_EQ(Order(daemon / "other.raw", "resize", "size=5M"), 0);
    EXPECT_TRUE(has(direct, 5 * kMiB)) << BytesOf(direct.device());
    EXPECT_EQ(BytesOf(foreign.device()), 4 * kMiB);
  }
  // Nobody is left who keeps the mount.
  EXPECT_TRUE(Eventually([&] { return ::umount2(daemon.path().c_str(), 0) == 0; }));
  EXPECT_EQ(daemon.WaitForEnd().exit_code, 0) << daemon.Log();
}

// Among commands and devices that come and go.
TEST_F(ResizeTest, ADaemonWithLoopDevicesEndsWheneverItIsTold) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has loop devices";
  Daemon daemon({dir_ / "images"});
  Random random;
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    const std::string disk = daemon / "vm.raw";
    const LoopDevice loop(disk, "off");
    ASSERT_FALSE(loop.device().empty());
    for (int size = 10; size < 14; ++size) {
      ASSERT_EQ(Order(disk, "resize", "shrink=yes,size=" + std::to_string(size) + "M"), 0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random.Below(40)));
    ::kill(daemon.pid(), round % 2 == 0 ? SIGKILL : SIGTERM);
    EXPECT_TRUE(Eventually([&] { return daemon.Ended(); })) << "it hangs";
    daemon.WaitForEnd();
    RunCommand({"losetup", "--detach", loop.device()});
    while (::umount2(daemon.path().c_str(), MNT_DETACH) == 0) {
    }
    daemon.Restart();
  }
}

TEST_F(ResizeTest, WithAWritebackCacheTheKernelWouldNotHear) {
  Daemon daemon({dir_ / "images"}, {"-o", "writeback_cache"});
  ASSERT_TRUE(daemon.serving());
  EXPECT_EQ(Order(daemon / "vm.raw", "resize", "size=7M"), EOPNOTSUPP);
  EXPECT_NE(LastError(daemon / "vm.raw").find("writeback_cache"), std::string::npos);
}

}  // namespace
}  // namespace chainfs
