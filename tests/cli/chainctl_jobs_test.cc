// SPDX-License-Identifier: Apache-2.0
//
// Which job a verb without an id means, and what Ctrl-C does to it.
#include <signal.h>

#include <filesystem>

#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class ChainctlJobsTest : public ChainctlMountTest {
 protected:
  // A stream that takes its time, with a newer job that has finished.
  void StartSlowBehindAFinishedOne() {
    ASSERT_EQ(Chainctl({"stream", vm_, "-b", "--id", "slow", "--speed", "256k"}).exit_code, 0);
    ASSERT_EQ(Chainctl({"snapshot", vm_, "--id", "shot"}).exit_code, 0);
    ASSERT_EQ(Status(vm_, "job.shot")["status"], "concluded");
  }
  // A job "held" that an earlier daemon has left behind, and that cannot be taken up.
  void RestartWithWaitingJobOf(const std::string& disk) {
    daemon_->Stop();
    fs::create_directory(dir_ / ".chainfs");
    fs::permissions(dir_ / ".chainfs", fs::perms::owner_all);
    WriteTextFile(dir_ / ".chainfs/job-held",
                  "version=1\nid=held\ntype=stream\ndisk=" + disk +
                      "\ntop=/elsewhere\nbase=\nspeed=0\n"
                      "on-error=report\nphase=copy\npaused=0\nprogress=0\n");
    fs::permissions(dir_ / ".chainfs/job-held", fs::perms::owner_read | fs::perms::owner_write);
    ASSERT_TRUE(daemon_->Restart());
  }
  std::string StatusOf(const std::string& id) {
    const Json job = Status(vm_, "job." + id);
    return job.is_object() ? job.value("status", "") : "";
  }
};

TEST_F(ChainctlJobsTest, WithoutIdTheNewestUnfinishedOneIsMeant) {
  StartSlowBehindAFinishedOne();
  const CommandResult waited = Chainctl({"wait", vm_, "--timeout", "0.2"});
  EXPECT_EQ(waited.exit_code, 4) << waited.Describe();
  EXPECT_NE(waited.err.find("slow is still running"), std::string::npos) << waited.Describe();
  EXPECT_EQ(ChainctlJson({"pause", vm_})["id"], "slow");
  EXPECT_TRUE(Eventually([&] { return StatusOf("slow") == "paused"; }));
  EXPECT_EQ(ChainctlJson({"resume", vm_})["id"], "slow");
  EXPECT_EQ(ChainctlJson({"speed", vm_, "512k"})["speed"], 512 << 10);
  EXPECT_EQ(ChainctlJson({"cancel", vm_})["id"], "slow");
  EXPECT_EQ(StatusOf("slow"), "concluded");
}

TEST_F(ChainctlJobsTest, WithoutAnUnfinishedJob) {
  CommandResult none = Chainctl({"wait", vm_});
  ExpectError(none, 1);
  EXPECT_NE(none.err.find("no job has run on this disk"), std::string::npos) << none.err;
  ASSERT_EQ(Chainctl({"stream", vm_, "--base", "base.qcow2", "--id", "good"}).exit_code, 0);
  const CommandResult done = Chainctl({"wait", vm_});
  EXPECT_EQ(done.exit_code, 0) << done.Describe();
  EXPECT_NE(done.err.find("no unfinished job on " + vm_), std::string::npos) << done.Describe();
  EXPECT_NE(done.out.find("good done: "), std::string::npos) << done.Describe();

  ASSERT_EQ(Chainctl({"stream", vm_, "-b", "--id", "bad", "--speed", "256k"}).exit_code, 0);
  ASSERT_EQ(Chainctl({"cancel", vm_}).exit_code, 0);
  EXPECT_EQ(Chainctl({"wait", vm_, "-q"}).exit_code, 3);
  for (const std::string verb : {"cancel", "pause", "resume"}) {
    const CommandResult refused = Chainctl({verb, vm_});
    ExpectError(refused, 1);
    EXPECT_NE(refused.err.find("no unfinished job"), std::string::npos) << refused.err;
  }
  EXPECT_EQ(ChainctlJson({"dismiss", vm_})["id"], "bad");
}

// A record that cannot be taken up is an unfinished job, but one that may wait for ever: say so.
TEST_F(ChainctlJobsTest, AJobThatWaitsToBeTakenUp) {
  ASSERT_NO_FATAL_FAILURE(RestartWithWaitingJobOf("vm"));
  const CommandResult waited = Chainctl({"wait", vm_, "--timeout", "0.2"});
  EXPECT_EQ(waited.exit_code, 4) << waited.Describe();
  EXPECT_NE(waited.err.find("held: waiting to be taken up: "), std::string::npos) << waited.err;
  EXPECT_NE(waited.err.find("chainctl cancel " + vm_ + " held"), std::string::npos) << waited.err;
  EXPECT_EQ(ChainctlJson({"cancel", vm_})["id"], "held");
  EXPECT_FALSE(fs::exists(dir_ / ".chainfs/job-held"));
  ExpectError(Chainctl({"wait", vm_}), 1);
}

// Then no verb can name the disk: the advice is what works without it.
TEST_F(ChainctlJobsTest, AJobWhoseDiskIsNotShown) {
  ASSERT_NO_FATAL_FAILURE(RestartWithWaitingJobOf("gone"));
  const CommandResult cancelled = Chainctl({"cancel", *daemon_ / "gone.raw", "held"});
  ExpectError(cancelled, 6);
  EXPECT_NE(cancelled.err.find("no such disk; `chainctl list "), std::string::npos)
      << cancelled.err;
  const std::string mount = daemon_->path();
  const CommandResult jobs = Chainctl({"jobs", mount});
  EXPECT_NE(jobs.out.find("setfattr -n user.chainfs.cancel -v id=held " + mount), std::string::npos)
      << jobs.out;
  MustRun({"setfattr", "-n", "user.chainfs.cancel", "-v", "id=held", mount});
  EXPECT_FALSE(fs::exists(dir_ / ".chainfs/job-held"));
}

// The mount point takes the verbs of a job that is named.
TEST_F(ChainctlJobsTest, AJobIsNamedOnTheMountPoint) {
  ASSERT_NO_FATAL_FAILURE(RestartWithWaitingJobOf("gone"));
  const std::string mount = daemon_->path();
  ExpectError(Chainctl({"cancel", mount}), 6);
  ExpectError(Chainctl({"cancel", mount, "another"}), 1);
  EXPECT_EQ(Chainctl({"wait", mount, "held", "--timeout", "0.2"}).exit_code, 4);
  EXPECT_EQ(ChainctlJson({"cancel", mount, "held"})["id"], "held");
  EXPECT_FALSE(fs::exists(dir_ / ".chainfs/job-held"));
}

// Whoever only watches must not stop what another has started.
TEST_F(ChainctlJobsTest, InterruptingWaitOnlyStopsWatching) {
  ASSERT_EQ(Chainctl({"stream", vm_, "-b", "--id", "slow", "--speed", "256k"}).exit_code, 0);
  Command wait({BinaryPath("chainctl"), "wait", vm_, "--progress", "1"});
  ASSERT_TRUE(wait.WaitForOutput("/100"));  // it is waiting
  wait.Signal(SIGINT);
  const CommandResult ended = wait.Wait();
  EXPECT_EQ(ended.exit_code, 4) << ended.Describe();
  EXPECT_NE(ended.err.find("slow is still running"), std::string::npos) << ended.Describe();
  EXPECT_EQ(StatusOf("slow"), "running");
  ASSERT_EQ(Chainctl({"cancel", vm_, "slow"}).exit_code, 0);
}

TEST_F(ChainctlJobsTest, TheLastLineTellsCopiedFromScanned) {
  const CommandResult result = Chainctl({"stream", vm_, "--base", "base.qcow2"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("done: 256 KiB copied, 16 MiB scanned"), std::string::npos)
      << result.Describe();
}

TEST_F(ChainctlJobsTest, AnEstimateSaysThatItIsOne) {
  const CommandResult result = Chainctl({"stream", vm_, "--dry-run"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("estimate, nothing was done"), std::string::npos) << result.out;
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

}  // namespace
}  // namespace chainfs
