// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/dying_server.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class DyingServerTest : public testing::Test {
 protected:
  // A thread, as /proc shows it. `pending`: the line of its own signals.
  std::string Thread(const std::string& process, const std::string& id,
                     const std::string& pending) {
    const std::string task = proc_ / (process + "/task/" + id);
    fs::create_directories(task + "/fd");
    fs::create_directories(task + "/fdinfo");
    WriteTextFile(task + "/status", "Name:\tchainfs\nThreads:\t2\n" + pending + "\nShdPnd:\t0\n");
    return task;
  }
  static void Open(const std::string& task, const std::string& fd, const std::string& what,
                   const std::string& facts = "pos:\t0\n") {
    fs::create_symlink(what, task + "/fd/" + fd);
    WriteTextFile(task + "/fdinfo/" + fd, facts);
  }
  int Dying(const std::string& device) const { return DyingServerOf(device, proc_.path()); }

  const TempDir proc_;
  const std::string killed_ = "SigPnd:\t0000000000000100";
  const std::string alive_ = "SigPnd:\t0000000000000000";
};

TEST_F(DyingServerTest, IsKnownByItsConnection) {
  Thread("41", "41", alive_);  // has ended: no files
  Open(Thread("41", "43", killed_), "5", "/dev/fuse", "pos:\t0\nfuse_connection:\t52\n");
  EXPECT_EQ(Dying("0:52"), 41);
  EXPECT_EQ(Dying("0:5"), 0);
  EXPECT_EQ(Dying("8:52"), 0);
  EXPECT_EQ(Dying(""), 0);
}

TEST_F(DyingServerTest, IsKnownByTheSwitchThatItHasOpened) {
  const std::string task = Thread("41", "43", killed_);
  Open(task, "5", "/dev/fuse");
  EXPECT_EQ(Dying("0:52"), 0) << "somebody else's";
  Open(task, "6", "/sys/fs/fuse/connections/52/abort");
  EXPECT_EQ(Dying("0:52"), 41);
}

TEST_F(DyingServerTest, IsNoneThatLives) {
  // SIGTERM, SIGSTOP and the like.
  Open(Thread("41", "41", "SigPnd:\t0000000000044003"), "5", "/dev/fuse", "fuse_connection:\t52\n");
  EXPECT_EQ(Dying("0:52"), 0);
}

}  // namespace
}  // namespace chainfs
