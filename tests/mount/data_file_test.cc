// SPDX-License-Identifier: Apache-2.0
//
// Disks over images that keep their data in an external data file.
#include <filesystem>

#include "blocklayer/base/unique_fd.h"
#include "tests/mount/control.h"

namespace chainfs {
namespace {

constexpr uint64_t kMiB = 1 << 20;

class DataFileMountTest : public testing::Test {
 protected:
  void Make(const std::string& more) {
    std::filesystem::create_directory(dir_ / "images");
    std::filesystem::create_directory(dir_ / "data");
    MustRun({"qemu-img", "create", "-q", "-f", "qcow2", "-o",
             "data_file=" + (dir_ / "data/vm.raw") + more, dir_ / "images/vm.qcow2", "4M"});
    MustRun({"qemu-io", "-f", "qcow2", dir_ / "images/vm.qcow2", "-c", "write -P 1 0 2M"});
  }
  static void Write(const std::string& disk, uint64_t offset, size_t length, char with) {
    const UniqueFd fd(::open(disk.c_str(), O_RDWR));
    const std::string data(length, with);
    ASSERT_EQ(::pwrite(fd.get(), data.data(), length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
    ASSERT_EQ(::fsync(fd.get()), 0);
  }
  void ExpectAsQemuReads(const std::string& image, const std::string& shown) {
    MustRun({"qemu-img", "check", "-q", "-f", "qcow2", image});
    MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, shown});
  }

  const TempDir dir_;
};

TEST_F(DataFileMountTest, WrittenCopiedOnWriteResizedAndStreamed) {
  Make("");
  const std::string copy = dir_ / "copy.raw";
  {
    Daemon daemon({dir_ / "images"}, {"-o", "data_dirs=" + (dir_ / "data")});
    ASSERT_TRUE(daemon.serving());
    const std::string disk = daemon / "vm.raw";
    Write(disk, 3 * kMiB + 512, 70000, 'a');
    ASSERT_EQ(Order(disk, "resize", "size=6M"), 0) << LastError(disk);
    Write(disk, 5 * kMiB, 512, 'b');
    EXPECT_EQ(std::filesystem::file_size(dir_ / "data/vm.raw"), 6 * kMiB);
    MustRun({"cp", disk, copy});
  }
  ExpectAsQemuReads(dir_ / "images/vm.qcow2", copy);
  {
    Daemon daemon({dir_ / "images"}, {"-o", "data_dirs=" + (dir_ / "data")});
    const std::string disk = daemon / "vm.raw";
    ASSERT_EQ(Order(disk, "snapshot"), 0) << LastError(disk);
    Write(disk, kMiB + 100, 1000, 'c');
    StreamToEnd(disk);
    MustRun({"cp", disk, copy});
  }
  ExpectAsQemuReads(dir_ / "images/vm.1.qcow2", copy);
}

TEST_F(DataFileMountTest, CommittedInto) {
  Make(",data_file_raw=on");
  const std::string copy = dir_ / "copy.raw";
  {
    Daemon daemon({dir_ / "images"}, {"-o", "data_dirs=" + (dir_ / "data")});
    ASSERT_TRUE(daemon.serving());
    const std::string disk = daemon / "vm.raw";
    ASSERT_EQ(Order(disk, "snapshot"), 0) << LastError(disk);
    Write(disk, kMiB + 100, 1000, 'c');
    Write(disk, 3 * kMiB, 100000, 'd');
    ASSERT_EQ(Order(disk, "commit", "base=vm.qcow2"), 0) << LastError(disk);
    const Json job = WaitForJob(disk);
    EXPECT_FALSE(job.contains("error")) << job.dump();
    EXPECT_EQ(LayersOf(disk), (std::vector<std::string>{"vm.qcow2"}));
    MustRun({"cp", disk, copy});
  }
  ExpectAsQemuReads(dir_ / "images/vm.qcow2", copy);
  MustRun({"cmp", dir_ / "data/vm.raw", copy});
}

}  // namespace
}  // namespace chainfs
