// SPDX-License-Identifier: Apache-2.0
//
// Whatever is refused or fails says why: user.chainfs.error of the disk and of the mount.
#include <sys/mount.h>

#include <filesystem>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class RefusalsTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "1M"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
  }
  void Mount() {
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
    base_ = *daemon_ / "base.raw";
  }
  // That the last error of `path` and of the mount is this.
  void ExpectError(const std::string& path, const std::string& error, const std::string& words) {
    const Json said = Status(path, "error");
    ASSERT_TRUE(said.is_object()) << error << ": nothing is said";
    EXPECT_EQ(said.value("errno", ""), error) << said.dump();
    EXPECT_NE(said.value("message", "").find(words), std::string::npos) << said.dump();
    EXPECT_EQ(Status(daemon_->path(), "error"), said);
  }

  const TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
  std::string base_;
};

TEST_F(RefusalsTest, FileOperationsSayWhy) {
  Mount();
  EXPECT_EQ(::truncate(vm_.c_str(), 4096), -1);
  ExpectError(vm_, "EPERM", "does not shrink");
  EXPECT_LT(::open(vm_.c_str(), O_WRONLY | O_TRUNC), 0);
  ExpectError(vm_, "EPERM", "O_TRUNC");
  EXPECT_LT(::open(base_.c_str(), O_RDWR), 0);
  ExpectError(base_, "EROFS", "vm is built on it");
  EXPECT_EQ(::truncate(base_.c_str(), 2 << 20), -1);
  ExpectError(base_, "EROFS", "vm is built on it");
  EXPECT_EQ(::chmod(base_.c_str(), 0666), -1);
  ExpectError(base_, "EROFS", "vm is built on it");
  EXPECT_EQ(::chmod(vm_.c_str(), 0666), -1);
  ExpectError(vm_, "EPERM", "permit 0644");
  EXPECT_LT(::open((*daemon_ / ".chainfs/metrics").c_str(), O_RDWR), 0);
  ExpectError(daemon_->path(), "EPERM", "metrics can only be read");
  EXPECT_EQ(::mkdir((*daemon_ / "new").c_str(), 0755), -1);
  ExpectError(daemon_->path(), "EPERM", "source directories");
  const OpenedFile file(vm_, O_RDWR);
  EXPECT_EQ(::pwrite(file.get(), "x", 1, 1 << 20), -1);
  ExpectError(vm_, "ENOSPC", "past the end");
}

TEST_F(RefusalsTest, AFullHostSaysSo) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can mount";
  const std::string small = dir_ / "small";
  fs::create_directory(small);
  ASSERT_EQ(::mount("none", small.c_str(), "tmpfs", 0, "size=1m"), 0) << std::strerror(errno);
  CreateQcow2(small + "/d.qcow2", {.size = "8M"});
  {
    const Daemon daemon({small});
    EXPECT_TRUE(daemon.serving()) << daemon.Log();
    const std::string disk = daemon / "d.raw";
    const OpenedFile file(disk, O_RDWR);
    const std::string data(4 << 20, 'x');
    EXPECT_LT(::pwrite(file.get(), data.data(), data.size(), 0), std::ssize(data));
    const Json said = Status(disk, "error");
    EXPECT_TRUE(said.is_object() && said.value("errno", "") == "ENOSPC") << said.dump();
    EXPECT_NE(said.value("message", "").find("d.qcow2"), std::string::npos) << said.dump();
    EXPECT_NE(said.value("message", "").find("make room"), std::string::npos) << said.dump();
  }
  EXPECT_EQ(::umount2(small.c_str(), MNT_DETACH), 0);
}

// The sentences about a disk in chains.json.
std::string Notes(const Daemon& daemon) {
  return Json::parse(ReadTextFile(daemon / ".chainfs/chains.json"))["notes"].dump();
}

TEST_F(RefusalsTest, ALayerThatWasMovedOrRemovedIsTold) {
  Mount();
  const OpenedFile file(vm_, O_RDWR);
  ASSERT_TRUE(file.valid());
  fs::rename(dir_ / "base.qcow2", dir_ / "elsewhere");
  EXPECT_TRUE(Eventually([&] {
    return Notes(*daemon_).find("base.qcow2 was moved") != std::string::npos;
  })) << Notes(*daemon_);
  EXPECT_TRUE(Eventually([&] { return LastError(vm_).find("was moved") != std::string::npos; }));
  ExpectError(vm_, "ENOENT", "put it back");
  EXPECT_NE(daemon_->Log().find("base.qcow2 was moved"), std::string::npos) << daemon_->Log();
  fs::rename(dir_ / "elsewhere", dir_ / "base.qcow2");
  EXPECT_TRUE(Eventually([&] { return Notes(*daemon_).find("moved") == std::string::npos; }))
      << Notes(*daemon_);
  fs::remove(dir_ / "base.qcow2");
  EXPECT_TRUE(Eventually([&] {
    return Notes(*daemon_).find("base.qcow2 was removed") != std::string::npos;
  })) << Notes(*daemon_);
  EXPECT_TRUE(Eventually([&] { return LastError(vm_).find("was removed") != std::string::npos; }));
  // It goes on, and what was told can be done.
  char byte = 1;
  EXPECT_EQ(::pread(file.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 0);
  StreamToEnd(vm_);
  EXPECT_TRUE(Eventually([&] { return Notes(*daemon_).find("removed") == std::string::npos; }))
      << Notes(*daemon_);
}

TEST_F(RefusalsTest, ABackingFileThatIsLostIsTold) {
  fs::remove(dir_ / "base.qcow2");
  Mount();
  const Json said = Status(daemon_->path(), "error");
  ASSERT_TRUE(said.is_object());
  EXPECT_EQ(said["errno"], "ENOENT");
  EXPECT_NE(said.value("message", "").find("base.qcow2"), std::string::npos) << said.dump();
}

}  // namespace
}  // namespace chainfs
