// SPDX-License-Identifier: Apache-2.0
//
// The sandbox of the real daemon (fusefs/sandbox): what its threads hold, where root's commands may
// put files, and that all it does for a mount goes on. What the kernel then refuses is in
// tests/unit/fusefs/sandbox_test.cc.
#include <grp.h>
#include <sched.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "tests/mount/control.h"
#include "tests/mount/images.h"

namespace chainfs {
namespace {

// What the threads of a process say in /proc, by key: every value that one of them has.
std::map<std::string, std::set<std::string>> StatusOfThreads(pid_t pid) {
  std::map<std::string, std::set<std::string>> values;
  const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      const size_t colon = line.find(":\t");
      if (colon != std::string::npos) values[line.substr(0, colon)].insert(line.substr(colon + 2));
    }
  }
  return values;
}

using Values = std::set<std::string>;

class ConfinedDaemonTest : public testing::Test {
 protected:
  void SetUp() override { CreateQcow2(images_ / "vm.qcow2", {.size = "8M"}); }

  // With its message, in one text.
  static std::string SnapshotTo(const Daemon& daemon, const std::string& target) {
    const CommandResult result =
        RunCommand({BinaryPath("chainctl"), "snapshot", daemon / "vm.raw", "--target", target});
    return result.exit_code == 0 ? "" : result.err;
  }

  const TempDir images_;
  const TempDir elsewhere_;
};

TEST_F(ConfinedDaemonTest, EveryThreadIs) {
  const Daemon daemon({images_.path()}, {"-o", "qmp=" + (images_ / "qmp")});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto status = StatusOfThreads(daemon.pid());
  // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH and FOWNER.
  EXPECT_EQ(status.at("CapEff"), Values{"000000000000000f"});
  EXPECT_EQ(status.at("CapPrm"), Values{"000000000000000f"});
  EXPECT_EQ(status.at("CapInh"), Values{"0000000000000000"});
  EXPECT_EQ(status.at("CapBnd"), Values{"0000000000000000"});
  EXPECT_EQ(status.at("CapAmb"), Values{"0000000000000000"});
  EXPECT_EQ(status.at("NoNewPrivs"), Values{"1"});
  EXPECT_EQ(status.at("Seccomp"), Values{"2"});
  EXPECT_EQ(daemon.Log().find("sandbox"), std::string::npos) << daemon.Log();
}

TEST_F(ConfinedDaemonTest, WithoutTheSandboxNoneIs) {
  const Daemon daemon({images_.path()}, {"-o", "sandbox=off"});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto status = StatusOfThreads(daemon.pid());
  EXPECT_EQ(status.at("NoNewPrivs"), Values{"0"});
  EXPECT_EQ(status.at("Seccomp"), Values{"0"});
  EXPECT_EQ(SnapshotTo(daemon, elsewhere_ / "new.qcow2"), "");
}

// A layer elsewhere needs the option to be made, and none to be found again.
TEST_F(ConfinedDaemonTest, TargetsLieBeneathTheSourcesAndTargetDirs) {
  Daemon daemon({images_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_EQ(SnapshotTo(daemon, images_ / "second.qcow2"), "");
  const std::string refused = SnapshotTo(daemon, elsewhere_ / "third.qcow2");
  EXPECT_NE(refused.find("mount with -o target_dir=" + elsewhere_.path()), std::string::npos)
      << refused;
  EXPECT_FALSE(std::filesystem::exists(elsewhere_ / "third.qcow2"));
  EXPECT_EQ(daemon.Stop().exit_code, 0);
  ASSERT_TRUE(daemon.Restart({"-o", "target_dir=" + elsewhere_.path()})) << daemon.Log();
  EXPECT_EQ(SnapshotTo(daemon, elsewhere_ / "third.qcow2"), "");
  EXPECT_EQ(daemon.Stop().exit_code, 0);
  ASSERT_TRUE(daemon.Restart({})) << daemon.Log();
  EXPECT_EQ(LayersOf(daemon / "vm.raw"),
            (std::vector<std::string>{"third.qcow2", "second.qcow2", "vm.qcow2"}));
  MustRun({"dd", "if=/dev/urandom", "of=" + daemon / "vm.raw", "bs=4k", "count=1", "conv=notrunc",
           "status=none"});
  EXPECT_EQ(daemon.Stop().exit_code, 0);
  EXPECT_GT(std::filesystem::file_size(elsewhere_ / "third.qcow2"), 256u << 10);
}

// By fusermount3, which only the keeper may still run. In a mount namespace of its own, where a
// user may open /dev/fuse whatever it is here.
TEST_F(ConfinedDaemonTest, AMountOfAUserIsUnmounted) {
  const TempDir mount;
  const std::string device = elsewhere_ / "fuse";
  ASSERT_EQ(::mknod(device.c_str(), S_IFCHR, ::makedev(10, 229)), 0);
  ASSERT_EQ(::chmod(device.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(elsewhere_.path().c_str(), 0755), 0);
  constexpr uid_t kUser = 65534;  // nobody: fusermount3 wants one who has a name
  for (const std::string& path : {images_.path(), images_ / "vm.qcow2", mount.path()}) {
    ASSERT_EQ(::chown(path.c_str(), kUser, kUser), 0);
  }
  const std::string log = elsewhere_ / "log";
  WriteTextFile(log, "");
  const std::string program = BinaryPath("chainfs");
  const pid_t child = ::fork();
  if (child == 0) {
    const int messages = ::open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (messages < 0 || ::dup2(messages, STDERR_FILENO) < 0) ::_exit(252);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(device.c_str(), "/dev/fuse", nullptr, MS_BIND, nullptr) != 0) {
      ::_exit(253);
    }
    if (::setgroups(0, nullptr) != 0 || ::setgid(kUser) != 0 || ::setuid(kUser) != 0) ::_exit(254);
    ::setenv("HOME", images_.path().c_str(), 1);
    ::execl(program.c_str(), "chainfs", "-f", images_.path().c_str(), mount.path().c_str(),
            nullptr);
    ::_exit(255);
  }
  const auto serving = [&] { return ReadTextFile(log).find("serving") != std::string::npos; };
  EXPECT_TRUE(Eventually(serving)) << ReadTextFile(log);
  ::kill(child, SIGTERM);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << ReadTextFile(log);
  EXPECT_EQ(ReadTextFile(log).find("warning"), std::string::npos) << ReadTextFile(log);
}

}  // namespace
}  // namespace chainfs
