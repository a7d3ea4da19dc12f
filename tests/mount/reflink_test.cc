// SPDX-License-Identifier: Apache-2.0
//
// Jobs on file systems that share extents: what they merge and copy costs no room, is right, and
// stays right when one of those that share is written.
#include <sys/mount.h>
#include <sys/vfs.h>

#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"

namespace chainfs {
namespace {

constexpr uint64_t kDiskSize = 64 << 20;

class ReflinkTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string image = host_ / "fs.img";
    MustRun({"truncate", "-s", "1G", image});
    if (GetParam() == "xfs") {
      MustRun({"mkfs.xfs", "-q", "-m", "reflink=1", image});
    } else {
      MustRun({"mkfs.btrfs", "-q", image});
    }
    loop_ = std::make_unique<LoopDevice>(image, "off");
    ASSERT_EQ(mount(loop_->device().c_str(), place_.path().c_str(), GetParam().c_str(), 0, nullptr),
              0)
        << std::strerror(errno);
    mounted_ = true;
    // a <- b <- c <- d; each of a, b and c has every second MiB of the disk: b the odd ones.
    CreateQcow2(place_ / "a.qcow2", {.size = std::to_string(kDiskSize)});
    for (const char name : {'b', 'c', 'd'}) {
      CreateQcow2(place_ / (std::string(1, name) + ".qcow2"),
                  {.backing = std::string(1, static_cast<char>(name - 1)) + ".qcow2"});
    }
    for (const char name : {'a', 'b', 'c'}) {
      std::vector<std::string> commands;
      for (uint64_t at = name == 'b' ? 1 : 0; at < kDiskSize >> 20; at += 2) {
        commands.push_back("write -q -P " + std::to_string(random_.Between(1, 255)) + " " +
                           std::to_string(at) + "M 1M");
      }
      QemuIo(place_ / (std::string(1, name) + ".qcow2"), "qcow2", commands);
    }
    Flatten(place_ / "d.qcow2", "qcow2", host_ / "expected");
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{place_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "d.raw";
  }
  void TearDown() override {
    daemon_.reset();
    if (mounted_) {
      EXPECT_EQ(umount(place_.path().c_str()), 0) << std::strerror(errno);
    }
  }

  // Bytes of the file system that are in use.
  uint64_t Used() const {
    MustRun({"sync", "-f", place_.path()});
    struct statfs fs = {};
    EXPECT_EQ(statfs(place_.path().c_str(), &fs), 0);
    return (fs.f_blocks - fs.f_bfree) * static_cast<uint64_t>(fs.f_bsize);
  }

  void RunJob(const std::string& verb, const std::string& value) {
    const uint64_t before = Used();
    ASSERT_EQ(Order(disk_, verb, "id=j" + value), 0) << LastError(disk_);
    const Json job = WaitForJob(disk_, "j");
    EXPECT_FALSE(job.contains("error")) << job.dump();
    EXPECT_GT(job.value("copied", uint64_t{0}), kDiskSize / 4) << job.dump();
    // Tables and records only; what was merged was at least a quarter of the disk.
    EXPECT_LT(Used(), before + kDiskSize / 8);
  }

  // The disk, what is written to it now, and `others` by qemu-img, which do not see that.
  void ExpectRight(const std::string& image, const std::vector<std::string>& others) {
    const std::string written = host_ / "written";
    MustRun({"cp", host_ / "expected", written});
    for (const std::string& file : {disk_, written}) {
      MustRun({"dd", "if=/dev/zero", "of=" + file, "bs=64k", "seek=7", "count=40", "conv=notrunc",
               "status=none"});
      MustRun({"dd", "if=/dev/zero", "of=" + file, "bs=1000", "seek=9000", "count=300",
               "conv=notrunc", "status=none"});
    }
    MustRun({"cmp", disk_, written});
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    MustRun({"qemu-img", "check", "-q", place_ / image});
    MustRun({"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", place_ / image, written});
    for (const std::string& other : others) {
      MustRun({"qemu-img", "check", "-q", place_ / other});
      MustRun({"qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", place_ / other,
               host_ / "expected"});
    }
  }

  Random random_;
  const TempDir host_;
  const TempDir place_;
  std::unique_ptr<LoopDevice> loop_;
  bool mounted_ = false;
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_P(ReflinkTest, AStreamShares) {
  RunJob("stream", "");
  ExpectRight("d.qcow2", {"c.qcow2"});
}

TEST_P(ReflinkTest, ACommitShares) {
  RunJob("commit", ",top=c.qcow2,base=a.qcow2");
  ExpectRight("d.qcow2", {"a.qcow2"});
}

TEST_P(ReflinkTest, ABackupShares) {
  RunJob("backup", ",target=" + (place_ / "copy.qcow2"));
  ExpectRight("d.qcow2", {"copy.qcow2"});
}

TEST_P(ReflinkTest, AMirrorShares) {
  RunJob("mirror", ",target=" + (place_ / "copy.qcow2") + ",then=keep");
  ExpectRight("d.qcow2", {"copy.qcow2"});
}

INSTANTIATE_TEST_SUITE_P(HostFileSystem, ReflinkTest, testing::Values("xfs", "btrfs"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace chainfs
