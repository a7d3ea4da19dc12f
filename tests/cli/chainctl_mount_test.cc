// SPDX-License-Identifier: Apache-2.0
//
// chainctl on a real mount: what each verb prints, waits for and exits with.
#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

TEST_F(ChainctlMountTest, Shows) {
  const CommandResult list = Chainctl({"list", daemon_->path()});
  EXPECT_EQ(list.exit_code, 0) << list.Describe();
  for (const std::string word : {"vm", "mid", "base", "bad"}) {
    EXPECT_NE(list.out.find(word), std::string::npos) << list.out;
  }
  const Json listed = ChainctlJson({"list", daemon_->path()});
  ASSERT_EQ(listed["mounts"].size(), 1u);
  EXPECT_EQ(listed["mounts"][0]["chains"].size(), 3u);
  EXPECT_EQ(listed["mounts"][0]["broken"].size(), 1u);
  EXPECT_EQ(ChainctlJson({"info", vm_}), Status(vm_, "info"));
  EXPECT_EQ(ChainctlJson({"chain", vm_}), Status(vm_, "chain"));
  EXPECT_EQ(Chainctl({"info", vm_}).exit_code, 0);
  const CommandResult chain = Chainctl({"chain", vm_});
  EXPECT_LT(chain.out.find("vm.qcow2"), chain.out.find("base.qcow2")) << chain.out;
  EXPECT_EQ(ChainctlJson({"map", vm_}), ReadJson(*daemon_ / ".chainfs/map/vm.json"));
  const CommandResult map = Chainctl({"map", vm_});
  EXPECT_EQ(map.exit_code, 0) << map.Describe();
  EXPECT_NE(map.out.find("mid.qcow2"), std::string::npos) << map.out;
  EXPECT_EQ(Chainctl({"map", vm_, "--svg", outside_ / "map.svg"}).exit_code, 0);
  EXPECT_NE(ReadTextFile(outside_ / "map.svg").find("<svg"), std::string::npos);
  EXPECT_EQ(ChainctlJson({"jobs", vm_})["jobs"].size(), 0u);
}

TEST_F(ChainctlMountTest, StreamWaitsForTheEnd) {
  const CommandResult dry = Chainctl({"stream", vm_, "--dry-run"});
  EXPECT_EQ(dry.exit_code, 0) << dry.Describe();
  const CommandResult first = Chainctl({"stream", vm_, "--base", "base.qcow2", "-v"});
  EXPECT_EQ(first.exit_code, 0) << first.Describe();
  EXPECT_NE((first.out + first.err).find("setfattr -n user.chainfs.stream"), std::string::npos)
      << first.Describe();
  EXPECT_EQ(LayersOf(vm_), (std::vector<std::string>{"vm.qcow2", "base.qcow2"}));
  const Json job = ChainctlJson({"stream", vm_, "--id", "whole"});
  EXPECT_EQ(job["id"], "whole");
  EXPECT_EQ(job["status"], "concluded");
  EXPECT_EQ(LayersOf(vm_), std::vector<std::string>{"vm.qcow2"});
  EXPECT_TRUE(SameContents(vm_, flat_));
  EXPECT_EQ(ChainctlJson({"wait", vm_, "whole"})["id"], "whole");
  EXPECT_GE(ChainctlJson({"jobs", daemon_->path()})["jobs"].size(), 2u);
  EXPECT_EQ(Chainctl({"dismiss", vm_, "whole"}).exit_code, 0);
  ExpectError(Chainctl({"wait", vm_, "whole"}), 1);
}

TEST_F(ChainctlMountTest, JobsInTheBackground) {
  const CommandResult started = Chainctl({"stream", vm_, "-b", "--id", "slow", "--speed", "512k"});
  ASSERT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_EQ(started.out, "slow\n");
  EXPECT_EQ(Chainctl({"jobs", vm_, "-q"}).out, "slow\n");
  ExpectError(Chainctl({"stream", vm_}), 5);                            // busy
  ExpectError(Chainctl({"stream", vm_, "--id", "slow"}), 5);            // the id is taken
  ExpectError(Chainctl({"stream", vm_, "--generation", "999999"}), 5);  // stale
  ExpectError(Chainctl({"stream", vm_, "--base", "nothing.qcow2"}), 1);
  EXPECT_EQ(Chainctl({"wait", vm_, "slow", "--timeout", "0.3"}).exit_code, 4);
  EXPECT_EQ(Chainctl({"pause", vm_}).exit_code, 0);
  EXPECT_TRUE(Eventually([&] { return Status(vm_, "job.slow")["status"] == "paused"; }));
  EXPECT_EQ(ChainctlJson({"resume", vm_, "slow"})["id"], "slow");
  EXPECT_EQ(ChainctlJson({"speed", vm_, "slow", "1M"})["speed"], 1 << 20);
  Command waiter({BinaryPath("chainctl"), "wait", vm_, "slow"});
  Command interrupted({BinaryPath("chainctl"), "wait", vm_, "slow", "--timeout", "100"});
  EXPECT_EQ(Chainctl({"cancel", vm_, "slow"}).exit_code, 0);
  EXPECT_EQ(waiter.Wait().exit_code, 3);
  EXPECT_EQ(interrupted.Wait().exit_code, 3);
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

// Ctrl-C while waiting cancels the job and waits for a clean stop.
TEST_F(ChainctlMountTest, InterruptedItCancels) {
  Command stream({BinaryPath("chainctl"), "stream", vm_, "--id", "s", "--speed", "512k"});
  ASSERT_TRUE(Eventually([&] {
    const Json job = Status(vm_, "job.s");
    return job.is_object() && job["current-progress"] > 0;
  }));
  stream.Signal(SIGINT);
  EXPECT_EQ(stream.Wait().exit_code, 3);
  EXPECT_EQ(Status(vm_, "job.s")["status"], "concluded");
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

TEST_F(ChainctlMountTest, SnapshotAndEvents) {
  Command events({BinaryPath("chainctl"), "events", daemon_->path()});
  const Json snapshot = ChainctlJson({"snapshot", vm_});
  EXPECT_EQ(snapshot["disk"], "vm");
  EXPECT_EQ(snapshot["frozen"], dir_ / "vm.qcow2");
  EXPECT_EQ(snapshot["active"], Status(vm_, "info")["active"]);
  EXPECT_TRUE(events.WaitForOutput("CHAIN_CHANGE"));
  ExpectError(Chainctl({"snapshot", vm_, "--target", dir_ / "base.qcow2"}), 5);
  EXPECT_EQ(Chainctl({"flush", vm_}).exit_code, 0);
  const CommandResult past = Chainctl({"events", daemon_->path(), "--no-follow"});
  EXPECT_EQ(past.exit_code, 0) << past.Describe();
  EXPECT_NE(past.out.find("CHAIN_CHANGE"), std::string::npos) << past.out;
  EXPECT_EQ(LayersOf(vm_).size(), 4u);
  EXPECT_TRUE(SameContents(vm_, flat_));
  events.Signal(SIGINT);
  events.Wait();
}

TEST_F(ChainctlMountTest, UmountWaitsForTheDaemon) {
  {
    const OpenedFile busy(vm_, O_RDONLY);
    ExpectError(Chainctl({"umount", daemon_->path()}), 5);
  }
  const pid_t pid = daemon_->pid();
  const Json unmounted = ChainctlJson({"umount", daemon_->path()});
  EXPECT_EQ(unmounted["unmounted"], true);
  EXPECT_EQ(unmounted["daemon-ended"], true);
  EXPECT_EQ(unmounted["pid"], pid);
  EXPECT_EQ(daemon_->WaitForEnd().exit_code, 0) << daemon_->Log();
  EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
  ExpectError(Chainctl({"info", vm_}), 6);
}

TEST_F(ChainctlMountTest, AGoneDaemonIsExitSix) {
  Command waiter({BinaryPath("chainctl"), "stream", vm_, "--speed", "512k"});
  ASSERT_TRUE(Eventually([&] { return Status(vm_, "job").is_object(); }));
  daemon_->KillHard();
  EXPECT_EQ(waiter.Wait().exit_code, 6);
  for (const std::string verb : {"info", "chain", "map", "stream", "jobs", "cancel"}) {
    ExpectError(Chainctl({verb, vm_}), 6);
  }
  ExpectError(Chainctl({"list", daemon_->path()}), 6);
  // A dead mount can still be taken away.
  EXPECT_EQ(Chainctl({"umount", daemon_->path()}).exit_code, 0);
}

}  // namespace
}  // namespace chainfs
