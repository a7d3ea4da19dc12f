// SPDX-License-Identifier: Apache-2.0
//
// Places on the daemon's own mount are no places for its images, however they are named: it would
// wait for itself. One thread serves here, so a daemon that asked itself anything would hang.
#include <sys/mount.h>

#include <filesystem>

#include "tests/mount/control.h"
#include "tests/mount/loop_device.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class OwnMountTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root may name targets outside the sources";
    CreateQcow2(images_ / "vm.qcow2", {.size = "64M"});
    CreateQcow2(images_ / "other.qcow2", {.size = "64M"});
    // The sandbox would not let it look at such places at all.
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{images_.path()},
                                       std::vector<std::string>{"-o", "threads=1,sandbox=off"});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
  }
  void ExpectRefused(const std::string& verb, const std::string& words) {
    EXPECT_EQ(Order(vm_, verb, words), EINVAL) << verb << " " << words << ": " << LastError(vm_);
    EXPECT_NE(LastError(vm_).find("lies on the mount of this chainfs itself"), std::string::npos)
        << verb << " " << words << ": " << LastError(vm_);
    EXPECT_EQ(LayersOf(vm_), std::vector<std::string>{"vm.qcow2"});
    EXPECT_EQ(Status(vm_, "jobs"), Json::array());
  }
  // As each operation would have it, by the directory that is ours in some way.
  void ExpectNoPlace(const std::string& directory) {
    ExpectRefused("mirror", "target=" + directory + "/vm.raw,existing=yes,format=raw");
    ExpectRefused("mirror", "target=" + directory + "/other.raw,existing=yes,dry-run=yes");
    ExpectRefused("mirror", "target=" + directory + "/new.qcow2,copy-mode=write-blocking");
    ExpectRefused("backup", "target=" + directory + "/new.qcow2");
    ExpectRefused("backup", "target=good.qcow2,overlay=" + directory + "/new.qcow2");
    ExpectRefused("snapshot", "target=" + directory + "/new.qcow2");
  }

  const TempDir images_;
  const TempDir elsewhere_;
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
};

TEST_F(OwnMountTest, ByItsPathAndThroughLinks) {
  ExpectNoPlace(daemon_->path());
  ExpectNoPlace(*daemon_ / ".chainfs");
  fs::create_directory_symlink(daemon_->path(), elsewhere_ / "link");
  ExpectNoPlace(elsewhere_ / "link");
  fs::create_directory_symlink("link", elsewhere_ / "again");
  ExpectNoPlace(elsewhere_ / "again/../" + fs::path(daemon_->path()).filename().string());
  ExpectNoPlace("/proc/self/root" + daemon_->path());
  // A link in a directory that is not ours is no way out of it either.
  fs::create_symlink(vm_, elsewhere_ / "vm.raw");
  EXPECT_EQ(Order(vm_, "mirror", "target=" + elsewhere_ / "vm.raw,existing=yes,format=raw"), EACCES)
      << LastError(vm_);
}

TEST_F(OwnMountTest, ThroughBindMounts) {
  const std::string bound = elsewhere_ / "bound";
  fs::create_directory(bound);
  ASSERT_EQ(::mount(daemon_->path().c_str(), bound.c_str(), nullptr, MS_BIND, nullptr), 0);
  ExpectNoPlace(bound);
  EXPECT_EQ(::umount2(bound.c_str(), 0), 0);
  // A single file: another mount than the directory's.
  WriteTextFile(elsewhere_ / "vm.raw", "");
  ASSERT_EQ(::mount(vm_.c_str(), (elsewhere_ / "vm.raw").c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_EQ(Order(vm_, "mirror", "target=" + elsewhere_ / "vm.raw,existing=yes,format=raw"), EACCES)
      << LastError(vm_);
  EXPECT_EQ(::umount2((elsewhere_ / "vm.raw").c_str(), 0), 0);
}

TEST_F(OwnMountTest, ThroughALoopDeviceOnADisk) {
  const LoopDevice loop(*daemon_ / "other.raw", "off");
  ASSERT_FALSE(loop.device().empty());
  MustRun({"mkfs.ext4", "-q", "-F", loop.device()});
  const std::string guest = elsewhere_ / "guest";
  fs::create_directory(guest);
  ASSERT_EQ(::mount(loop.device().c_str(), guest.c_str(), "ext4", 0, nullptr), 0);
  CreateQcow2(guest + "/there.qcow2", {.size = "64M"});
  ExpectNoPlace(guest);
  ExpectRefused("mirror", "target=" + guest + "/there.qcow2,existing=yes");
  EXPECT_EQ(::umount2(guest.c_str(), 0), 0);
}

// Everything else is as good a place as ever.
TEST_F(OwnMountTest, OtherPlacesServe) {
  fs::create_directory_symlink(elsewhere_.path(), images_ / "away");
  EXPECT_EQ(Order(vm_, "backup", "target=" + elsewhere_ / "b.qcow2,id=b"), 0) << LastError(vm_);
  EXPECT_EQ(WaitForJob(vm_, "b").value("error", ""), "");
  EXPECT_EQ(Order(vm_, "mirror", "target=away/m.qcow2,then=keep,id=m"), 0) << LastError(vm_);
  EXPECT_EQ(WaitForJob(vm_, "m").value("error", ""), "");
  EXPECT_EQ(Order(vm_, "snapshot", "target=/proc/self/root" + elsewhere_ / "s.qcow2"), 0)
      << LastError(vm_);
  EXPECT_EQ(LayersOf(vm_), (std::vector<std::string>{"s.qcow2", "vm.qcow2"}));
}

}  // namespace
}  // namespace chainfs
