// SPDX-License-Identifier: Apache-2.0
//
// A disk is never more readable or writable than its images (fusefs/disk_mode.h), whoever is let
// in.
#include <grp.h>

#include <cerrno>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

constexpr uid_t kStranger = 12345;

// What open(2) says to a user without any rights: 0 or the errno.
int OpenAsStranger(const std::string& path, int flags) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(kStranger) != 0 || ::setuid(kStranger) != 0) {
      ::_exit(255);
    }
    ::_exit(::open(path.c_str(), flags | O_CLOEXEC) >= 0 ? 0 : errno);
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct stat StatOf(const std::string& path) {
  struct stat st = {};
  EXPECT_EQ(::stat(path.c_str(), &st), 0) << path << ": " << std::strerror(errno);
  return st;
}

mode_t ModeOf(const std::string& path) { return StatOf(path).st_mode & 07777; }

class AccessTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
    ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
    CreateQcow2(image_, {.size = "1M"});
    ASSERT_EQ(::chmod(image_.c_str(), 0600), 0);
  }
  // The mount, reachable for everybody.
  void Mount(const std::string& options) {
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()},
                                       std::vector<std::string>{"-o", options});
    ASSERT_TRUE(daemon_->serving()) << daemon_->result().Describe();
    disk_ = *daemon_ / "vm1.raw";
  }

  const TempDir dir_;
  const std::string image_ = dir_ / "vm1.qcow2";
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_F(AccessTest, APrivateImageStaysPrivate) {
  Mount("nofail,allow_other,uid=nobody");
  EXPECT_EQ(ModeOf(disk_), 0600u);
  EXPECT_EQ(StatOf(disk_).st_uid, 65534u) << "the owner that was asked for can use it";
  EXPECT_EQ(OpenAsStranger(disk_, O_RDONLY), EACCES);
}

TEST_F(AccessTest, AChangeOfTheImagesModeIsNoticed) {
  Mount("allow_other");
  EXPECT_EQ(OpenAsStranger(disk_, O_RDONLY), EACCES);
  ASSERT_EQ(::chmod(image_.c_str(), 0644), 0);
  EXPECT_TRUE(Eventually([&] { return ModeOf(disk_) == 0644; }));
  EXPECT_EQ(OpenAsStranger(disk_, O_RDONLY), 0);
  EXPECT_EQ(OpenAsStranger(disk_, O_RDWR), EACCES);
  // The way to it closes.
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0700), 0);
  EXPECT_TRUE(Eventually([&] { return ModeOf(disk_) == 0600; }));
  EXPECT_EQ(OpenAsStranger(disk_, O_RDONLY), EACCES);
}

TEST_F(AccessTest, ChmodGivesNoMoreThanTheImage) {
  Mount("allow_other");
  EXPECT_EQ(::chmod(disk_.c_str(), 0644), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(ModeOf(disk_), 0600u);
  EXPECT_EQ(::chmod(disk_.c_str(), 0400), 0);
  EXPECT_EQ(ModeOf(disk_), 0400u);
}

TEST_F(AccessTest, ASnapshotTakesOverTheMode) {
  ASSERT_EQ(::chmod(image_.c_str(), 0660), 0);
  ASSERT_EQ(::chown(image_.c_str(), 4321, 54321), 0);
  Mount("allow_other,gid=54321,umask=007");
  EXPECT_EQ(ModeOf(disk_), 0660u);
  ASSERT_EQ(Order(disk_, "snapshot"), 0) << LastError(disk_);
  const struct stat made = StatOf(dir_ / "vm1.1.qcow2");
  EXPECT_EQ(made.st_mode & 07777, 0660u);
  EXPECT_EQ(made.st_uid, 4321u);
  EXPECT_EQ(made.st_gid, 54321u);
  EXPECT_EQ(ModeOf(disk_), 0660u);
}

TEST_F(AccessTest, ABackingFileThatIsPrivateStaysPrivate) {
  CreateQcow2(dir_ / "clone.qcow2", {.backing = "vm1.qcow2"});
  Mount("allow_other");
  EXPECT_EQ(ModeOf(*daemon_ / "clone.raw"), 0600u);
  EXPECT_EQ(OpenAsStranger(*daemon_ / "clone.raw", O_RDONLY), EACCES);
}

}  // namespace
}  // namespace chainfs
