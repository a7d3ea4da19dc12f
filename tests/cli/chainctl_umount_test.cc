// SPDX-License-Identifier: Apache-2.0
//
// chainctl umount: it says who holds the mount, ends by itself, and readers of events do not stop
// it. What events and list do about mounts that go, die, or are another user's.
#include <fmt/core.h>
#include <signal.h>

#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

class ChainctlUmountTest : public ChainctlMountTest {
 protected:
  // Refused, and says `who`.
  void ExpectHeldBy(const std::string& who) {
    const CommandResult result = Chainctl({"umount", daemon_->path()});
    ExpectError(result, 5);
    EXPECT_NE(result.err.find(who), std::string::npos) << result.Describe();
    EXPECT_TRUE(daemon_->serving());
  }
};

TEST_F(ChainctlUmountTest, NamesAProcessWithAnOpenFile) {
  Command holder({"/bin/sh", "-c", "exec 3< \"$0\"; echo open; read x", vm_});
  ASSERT_TRUE(holder.WaitForOutput("open"));
  ExpectHeldBy(fmt::format("sh (pid {}: {})", holder.pid(), vm_));
}

TEST_F(ChainctlUmountTest, NamesAProcessThatStandsInIt) {
  Command holder({"/bin/sh", "-c", "cd \"$0\"; echo in; read x", daemon_->path()});
  ASSERT_TRUE(holder.WaitForOutput("in"));
  ExpectHeldBy(fmt::format("sh (pid {}: {})", holder.pid(), daemon_->path()));
}

TEST_F(ChainctlUmountTest, NamesALoopDevice) {
  const CommandResult made = RunCommand({"losetup", "--find", "--show", vm_});
  if (!made.ok()) GTEST_SKIP() << "no loop devices: " << made.Describe();
  const std::string device = made.out.substr(0, made.out.find('\n'));
  ExpectHeldBy(fmt::format("loop device {} on {}", device, vm_));
  RunCommand({"losetup", "--detach", device});
}

// Another namespace keeps the file system, and with it the daemon, after the unmount here.
TEST_F(ChainctlUmountTest, NamesAnotherMountNamespaceAndEndsByItself) {
  Command holder(
      {"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", "echo apart; read x"});
  if (!holder.WaitForOutput("apart")) GTEST_SKIP() << "no mount namespaces";
  const CommandResult result = Chainctl({"umount", daemon_->path(), "--timeout", "0.5"});
  EXPECT_EQ(result.exit_code, 4) << result.Describe();
  EXPECT_NE(result.err.find("mount namespace of sh (pid "), std::string::npos) << result.Describe();
  holder.CloseInput();
  holder.Wait();
  EXPECT_EQ(daemon_->WaitForEnd().exit_code, 0) << daemon_->Log();
}

TEST_F(ChainctlUmountTest, ReadersOfEventsLetGo) {
  Command events({BinaryPath("chainctl"), "events", daemon_->path()});
  Command raw({"cat", *daemon_ / ".chainfs/events"});
  ASSERT_EQ(Chainctl({"stream", vm_, "-b", "--id", "slow", "--speed", "256k"}).exit_code, 0);
  Command waiter({BinaryPath("chainctl"), "wait", vm_, "slow"});
  ASSERT_TRUE(events.WaitForOutput("slow"));
  ASSERT_TRUE(raw.WaitForOutput("slow"));
  const CommandResult result = Chainctl({"umount", daemon_->path()});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_EQ(events.Wait().exit_code, 0);
  EXPECT_EQ(raw.Wait().exit_code, 0);
  EXPECT_EQ(waiter.Wait().exit_code, 6);
  EXPECT_EQ(daemon_->WaitForEnd().exit_code, 0) << daemon_->Log();
}

TEST_F(ChainctlUmountTest, AHungDaemonDoesNotHangIt) {
  ::kill(daemon_->pid(), SIGSTOP);
  const CommandResult result = Chainctl({"umount", daemon_->path(), "--timeout", "0.5"});
  ::kill(daemon_->pid(), SIGCONT);
  EXPECT_FALSE(result.timed_out);
  // A request that the daemon had taken when it was stopped keeps the mount in use; nobody can end
  // it.
  const bool in_use = result.exit_code == 5;
  EXPECT_TRUE(in_use || result.exit_code == 0 || result.exit_code == 4) << result.Describe();
  if (in_use) {
    daemon_->Stop();
  } else {
    daemon_->WaitForEnd();
  }
}

TEST_F(ChainctlUmountTest, EventsOfADaemonThatDiesExitSix) {
  Command events({BinaryPath("chainctl"), "events", daemon_->path()});
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  ASSERT_TRUE(events.WaitForOutput("CHAIN_CHANGE"));
  daemon_->KillHard();
  const CommandResult result = events.Wait();
  EXPECT_EQ(result.exit_code, 6) << result.Describe();
  EXPECT_NE(result.err.find("daemon is gone"), std::string::npos) << result.Describe();
}

TEST_F(ChainctlUmountTest, EventsEndWellWithTheDaemon) {
  Command events({BinaryPath("chainctl"), "events", daemon_->path()});
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  ASSERT_TRUE(events.WaitForOutput("CHAIN_CHANGE"));
  daemon_->Stop();
  EXPECT_EQ(events.Wait().exit_code, 0);
}

// A mount of root without allow_other answers EACCES to everybody else.
TEST_F(ChainctlUmountTest, ListPassesOverWhatIsNotForThisUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs two users";
  const TempDir programs;
  RunCommand({"cp", BinaryPath("chainctl"), programs / "chainctl"});
  RunCommand({"chmod", "-R", "a+rX", programs.path()});
  const auto as_nobody = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                 programs / "chainctl"});
    return RunCommand(words);
  };
  // All mounts, other tests' among them.
  for (const std::string verb : {"list", "jobs"}) {
    const CommandResult all = as_nobody({verb});
    EXPECT_EQ(all.exit_code, 0) << all.Describe();
  }
  RunCommand({"chmod", "a+x", daemon_->path()});
  EXPECT_EQ(as_nobody({"list", daemon_->path()}).exit_code, 7);
}

}  // namespace
}  // namespace chainfs
