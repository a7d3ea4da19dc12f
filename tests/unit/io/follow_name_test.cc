// SPDX-License-Identifier: Apache-2.0
//
// Names that a stranger chose, followed as the kernel would, without entering what could make the
// walk wait. (That a FUSE mount is not entered: tests/mount/freeze_test.cc.)
#include "blocklayer/io/follow_name.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "blocklayer/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class FollowNameTest : public testing::Test {
 protected:
  FollowNameTest() : fd_(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    WriteTextFile(dir_ / "file", "x");
    EXPECT_EQ(::mkdir((dir_ / "sub").c_str(), 0700), 0);
  }
  static FileId IdOf(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0) << path;
    return {.device = st.st_dev, .inode = st.st_ino};
  }
  Result<FileId> Follow(const std::string& name) { return FollowName(fd_.get(), name, {}); }
  void ExpectFile(const std::string& name) {
    const Result<FileId> id = Follow(name);
    ASSERT_TRUE(id) << name << ": " << id.error().message;
    EXPECT_EQ(*id, IdOf(dir_ / "file")) << name;
  }
  ErrorKind Refusal(const std::string& name) {
    const Result<FileId> id = Follow(name);
    EXPECT_FALSE(id) << name;
    return id ? ErrorKind::kIo : id.error().kind;
  }

  TempDir dir_;
  TempDir other_;
  UniqueFd fd_;
};

TEST_F(FollowNameTest, NamesLeadWhereTheKernelFindsThem) {
  ASSERT_EQ(::symlink("../file", (dir_ / "sub/link").c_str()), 0);
  ASSERT_EQ(::symlink((dir_ / "sub").c_str(), (other_ / "away").c_str()), 0);
  ASSERT_EQ(::symlink(other_.path().c_str(), (dir_ / "out").c_str()), 0);
  for (const std::string& name :
       {std::string("file"), std::string("./sub/..//file"), dir_ / "file", std::string("sub/link"),
        other_ / "away/../file", std::string("out/away/link"), "//" + dir_.path() + "/./file",
        "/../.." + (dir_ / "sub/link")}) {
    ExpectFile(name);
  }
  // Beyond a link, ".." is another directory than the text says.
  EXPECT_EQ(Refusal("out/file"), ErrorKind::kNotFound);
  EXPECT_EQ(*Follow("out/away/.."), IdOf(dir_.path()));
}

TEST_F(FollowNameTest, WhatIsNoRegularFileIsOnlyNamed) {
  ASSERT_EQ(::mkfifo((dir_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(*Follow("fifo"), IdOf(dir_ / "fifo"));
  EXPECT_EQ(*Follow(dir_ / "sub"), IdOf(dir_ / "sub"));
}

TEST_F(FollowNameTest, HostileNamesAreRefused) {
  ASSERT_EQ(::symlink("loop", (dir_ / "loop").c_str()), 0);
  ASSERT_EQ(::symlink("/proc/self/fd/0", (dir_ / "magic").c_str()), 0);
  const std::string open_file = "/proc/self/fd/" + std::to_string(fd_.get());
  EXPECT_EQ(Refusal("/proc/self/exe"), ErrorKind::kAccess);
  EXPECT_EQ(Refusal("magic"), ErrorKind::kAccess);
  EXPECT_EQ(Refusal(open_file + "/file"), ErrorKind::kAccess);
  EXPECT_EQ(Refusal("../../../../../../proc/self/cwd/x"), ErrorKind::kAccess);
  Refusal("loop");
  Refusal("file/");
  Refusal("file/x");
  Refusal("");
  Refusal(std::string("file\0x", 6));
  Refusal(std::string(5000, 'a'));
  Refusal(std::string(300, 'a'));
  EXPECT_EQ(Refusal("nothing"), ErrorKind::kNotFound);
}

// Many links, each of which leads to the next one.
TEST_F(FollowNameTest, ALongChainOfLinksEnds) {
  for (int i = 0; i < 60; ++i) {
    const std::string target = i == 0 ? dir_ / "file" : dir_ / ("l" + std::to_string(i - 1));
    ASSERT_EQ(::symlink(target.c_str(), (dir_ / ("l" + std::to_string(i))).c_str()), 0);
  }
  ExpectFile("l20");
  Refusal("l59");
}

class WalkToDirectoryTest : public FollowNameTest {
 protected:
  // Where a walk that keeps off `served` ends, or what is said instead.
  std::string Walk(const std::string& name, dev_t served = 0) {
    const Result<UniqueFd> found = WalkToDirectory(fd_.get(), name, served);
    if (!found) return std::string(ErrorKindName(found.error().kind));
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(found->get()));
  }
};

TEST_F(WalkToDirectoryTest, GoesWhereTheKernelGoes) {
  ASSERT_EQ(::symlink(other_.path().c_str(), (dir_ / "out").c_str()), 0);
  ASSERT_EQ(::symlink("out", (dir_ / "again").c_str()), 0);
  ASSERT_EQ(::symlink("loop", (dir_ / "loop").c_str()), 0);
  EXPECT_EQ(Walk("."), dir_.path());
  EXPECT_EQ(Walk("sub/"), dir_ / "sub");
  EXPECT_EQ(Walk("again//../"), std::filesystem::path(other_.path()).parent_path());
  EXPECT_EQ(Walk(dir_ / "again"), other_.path());
  EXPECT_EQ(Walk("/proc/sys"), "/proc/sys");
  EXPECT_EQ(Walk("/proc/self/cwd"), std::filesystem::current_path());
  EXPECT_EQ(Walk("/proc/self/root" + dir_ / "sub"), dir_ / "sub");
  EXPECT_EQ(Walk("none"), ErrorKindName(ErrorKind::kNotFound));
  EXPECT_EQ(Walk("file"), ErrorKindName(ErrorKind::kNotFound)) << "no directory";
  EXPECT_EQ(Walk("loop"), ErrorKindName(ErrorKind::kAccess));
}

TEST_F(WalkToDirectoryTest, KeepsOffWhatIsServed) {
  const dev_t served = IdOf("/proc").device;
  const std::string refused(ErrorKindName(ErrorKind::kInvalidArgument));
  ASSERT_EQ(::symlink("/proc/sys", (dir_ / "link").c_str()), 0);
  EXPECT_EQ(Walk("/proc", served), refused);
  EXPECT_EQ(Walk("/proc/sys/..", served), refused);
  EXPECT_EQ(Walk("link", served), refused);
  EXPECT_EQ(Walk("sub", served), dir_ / "sub");
  const Result<UniqueFd> said = WalkToDirectory(fd_.get(), "/proc/sys/", served);
  ASSERT_FALSE(said);
  EXPECT_EQ(said.error().message, "/proc/sys: " + std::string(kServedItself));
  // By a link of /proc's, whose text says nothing of it.
  const UniqueFd there(::open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(Walk("/proc/self/fd/" + std::to_string(there.get()), IdOf("/dev").device), refused);
}

}  // namespace
}  // namespace chainfs
