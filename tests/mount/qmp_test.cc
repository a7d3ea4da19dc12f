// SPDX-License-Identifier: Apache-2.0
//
// One script, two daemons: what a program written for QEMU says to qemu-storage-daemon it says to
// chainfs, and gets the same answers, the same events and the same images. Both transcripts are
// compared line by line; only times, paths and how far a cancelled job got are left out.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blocklayer/base/unique_fd.h"
#include "tests/mount/control.h"
#include "tests/mount/storage_daemon.h"
#include "tests/support/qmp_client.h"

namespace chainfs {
namespace {

using Words = std::vector<std::string>;

// base <- mid <- vm1 in a directory of their own.
class QmpScriptTest : public testing::Test {
 protected:
  void MakeChain(const TempDir& dir) {
    CreateQcow2(dir / "base.qcow2", {.size = "16M"});
    QemuIo(dir / "base.qcow2", "qcow2", {"write -P 1 0 16M"});
    CreateQcow2(dir / "mid.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir / "mid.qcow2", "qcow2", {"write -P 2 1M 4M"});
    CreateQcow2(dir / "vm1.qcow2", {.backing = "mid.qcow2"});
    QemuIo(dir / "vm1.qcow2", "qcow2", {"write -P 3 2M 1M"});
  }
};

// What a client says and hears, written down.
class Script {
 public:
  Script(QmpClient& client, std::string directory)
      : client_(client), directory_(std::move(directory)) {}

  std::string File(const std::string& name) const { return directory_ + "/" + name; }

  void Say(const std::string& command, const Json& arguments = Json::object()) {
    const Json answer = client_.Ask(command, arguments);
    Note(fmt::format("{} {} -> {}", command, arguments.dump(), answer.dump()));
  }
  // Of an error the class alone: its sentence names what the other one has not.
  void SayAndNoteClass(const std::string& command, const Json& arguments) {
    Note(fmt::format("{} {} -> {}", command, arguments.dump(),
                     client_.ErrorClass(command, arguments)));
  }
  // Events of the job until it has that status.
  void Hear(const std::string& job, const std::string& last) {
    for (; !gone_;) {
      const Json event = client_.WaitForAny(job);
      gone_ = event.is_null();
      ASSERT_FALSE(gone_) << last << " never comes:\n" << Text();
      Json data = event["data"];
      const std::string status = data.value("status", "");
      if (event["event"] == "BLOCK_JOB_CANCELLED") data.erase("offset");
      // What is a byte of a commit's way is for each to say.
      if (data.value("type", "") == "commit") {
        data.erase("offset");
        data.erase("len");
      }
      Note(fmt::format("{} {}", event.value("event", ""), data.dump()));
      if (status == last) return;
    }
  }
  void HearReady(const std::string& job) {
    if (gone_) return;
    gone_ = client_.WaitForEvent("BLOCK_JOB_READY", job).is_null();
    EXPECT_FALSE(gone_) << Text();
  }
  // Of each job all but how far it has come.
  void NoteJobs() {
    for (const char* const command : {"query-jobs", "query-block-jobs"}) {
      Json jobs = client_.Return(command);
      for (Json& job : jobs) {
        for (const char* const moving : {"current-progress", "offset", "busy"}) job.erase(moving);
        if (job["type"] != "commit") continue;
        for (const char* const own : {"total-progress", "len"}) job.erase(own);
      }
      Note(fmt::format("{} {}", command, jobs.dump()));
    }
  }
  // Of the named nodes what both have.
  void NoteNodes(const Words& names) {
    const Json nodes = client_.Return("query-named-block-nodes");
    for (const std::string& name : names) {
      for (const Json& node : nodes) {
        if (node["node-name"] != name) continue;
        const Json& image = node["image"];
        Note(fmt::format("node {}: {} ro={} size={} {} format={}", name, node["drv"].dump(),
                         node["ro"].dump(), image["virtual-size"].dump(), image["filename"].dump(),
                         image["format"].dump()));
      }
    }
  }

  std::string Text() const {
    std::string text;
    for (const std::string& line : lines_) text += line + "\n";
    return text;
  }

 private:
  void Note(std::string line) {
    for (size_t at = line.find(directory_); at != std::string::npos; at = line.find(directory_)) {
      line.replace(at, directory_.size(), "DIR");
    }
    lines_.push_back(std::move(line));
  }

  QmpClient& client_;
  const std::string directory_;
  bool gone_ = false;  // it was waited for in vain
  Words lines_;
};

// What is wrong in what is said, with QEMU's sentences.
void SayWhatIsWrong(Script& script) {
  script.Say("query-jobs");
  script.Say("qmp_capabilities");
  script.Say("qmp_capabilities");
  script.Say("no-such-command");
  script.Say("block-stream");
  script.Say("block-stream", {{"device", "no"}, {"job-id", "j"}});
  script.Say("block-stream", {{"device", 5}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "1x"}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"base", "no"}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"base-node", "no"}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"base-node", "vm1"}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"on-error", "no"}});
  script.Say("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"speed", "fast"}});
  script.Say("block-stream", {{"device", "vm1"}, {"no", "j"}});
  for (const char* const verb : {"pause", "resume", "cancel", "complete", "dismiss", "finalize"}) {
    script.Say(std::string("job-") + verb, {{"id", "no"}});
  }
  for (const char* const verb : {"pause", "resume", "cancel", "complete"}) {
    script.Say(std::string("block-job-") + verb, {{"device", "no"}});
  }
  script.Say("block-job-dismiss", {{"id", "no"}});
  script.Say("block-job-set-speed", {{"device", "no"}, {"speed", 1}});
  script.Say("blockdev-snapshot-sync", {{"node-name", "no"}, {"snapshot-file", "x"}});
  script.Say("blockdev-snapshot-sync",
             {{"node-name", "vm1"}, {"snapshot-file", script.File("d.qcow2")}});
  script.Say("blockdev-snapshot-sync", {{"node-name", "vm1"},
                                        {"snapshot-file", script.File("d.qcow2")},
                                        {"snapshot-node-name", "vm1"}});
  script.Say("blockdev-snapshot-sync", {{"node-name", "vm1"},
                                        {"snapshot-file", script.File("d.raw")},
                                        {"snapshot-node-name", "d"},
                                        {"format", "raw"}});
  script.NoteJobs();
}

// A job that is paused, looked at, told what it does not take, and cancelled.
void SayVerbs(Script& script) {
  script.Say("block-stream",
             {{"device", "vm1"}, {"job-id", "j"}, {"speed", 65536}, {"auto-dismiss", false}});
  script.Hear("j", "running");
  script.SayAndNoteClass("block-stream", {{"device", "vm1"}, {"job-id", "k"}});
  script.Say("job-complete", {{"id", "j"}});
  script.Say("job-finalize", {{"id", "j"}});
  script.Say("job-dismiss", {{"id", "j"}});
  script.Say("job-resume", {{"id", "j"}});
  script.NoteJobs();
  script.Say("job-pause", {{"id", "j"}});
  script.Hear("j", "paused");
  script.NoteJobs();
  script.Say("job-pause", {{"id", "j"}});
  script.Say("block-job-cancel", {{"device", "j"}});
  script.Say("block-job-set-speed", {{"device", "j"}, {"speed", -1}});
  script.Say("block-job-set-speed", {{"device", "j"}, {"speed", 131072}});
  script.Say("block-job-resume", {{"device", "j"}});
  script.Hear("j", "running");
  script.Say("job-cancel", {{"id", "j"}});
  script.Hear("j", "concluded");
  script.NoteJobs();
  script.Say("job-cancel", {{"id", "j"}});
  script.Say("job-dismiss", {{"id", "j"}});
  script.Hear("j", "null");
  script.NoteJobs();
}

// A snapshot, and two streams under one id.
void SayJobs(Script& script) {
  script.Say("blockdev-snapshot-sync", {{"node-name", "vm1"},
                                        {"snapshot-file", script.File("d.qcow2")},
                                        {"snapshot-node-name", "d"}});
  script.NoteNodes({"vm1", "d"});
  script.Say("blockdev-snapshot-sync", {{"node-name", "vm1"},
                                        {"snapshot-file", script.File("e.qcow2")},
                                        {"snapshot-node-name", "e"}});
  script.Say("block-stream", {{"device", "d"}, {"job-id", "j"}, {"base-node", "d"}});
  script.Say("block-stream",
             {{"device", "d"}, {"job-id", "j"}, {"base", script.File("base.qcow2")}});
  script.Hear("j", "null");
  script.NoteJobs();
  script.Say("block-stream", {{"device", "d"}, {"job-id", "j"}});
  script.Hear("j", "null");
  // There is nothing left to do, which is no error.
  script.Say("block-stream", {{"device", "d"}, {"job-id", "j"}});
  script.Hear("j", "null");
  script.NoteNodes({"d"});
}

// d <- e <- f, then all of it down into d again: e as a layer in the middle, f as the active one.
void SayCommits(Script& script) {
  const auto snapshot = [&](const std::string& node, const std::string& overlay) {
    script.Say("blockdev-snapshot-sync", {{"node-name", node},
                                          {"snapshot-file", script.File(overlay + ".qcow2")},
                                          {"snapshot-node-name", overlay}});
  };
  snapshot("d", "e");
  snapshot("e", "f");
  script.Say("block-commit", {{"device", "no"}, {"job-id", "j"}});
  script.Say("block-commit", {{"device", "f"}, {"job-id", "j"}, {"top", "no"}});
  script.Say("block-commit", {{"device", "f"}, {"job-id", "j"}, {"base", "no"}});
  script.Say("block-commit",
             {{"device", "f"}, {"job-id", "j"}, {"top-node", "d"}, {"base-node", "d"}});
  script.Say("block-commit", {{"device", "f"}, {"job-id", "j"}, {"top-node", "e"}, {"top", "e"}});
  script.Say("block-commit", {{"device", "f"},
                              {"job-id", "j"},
                              {"base-node", "d"},
                              {"backing-file", script.File("d.qcow2")}});
  script.Say("block-commit", {{"device", "f"},
                              {"job-id", "j"},
                              {"top", script.File("e.qcow2")},
                              {"base", script.File("d.qcow2")}});
  script.Hear("j", "null");
  script.Say("block-commit", {{"device", "f"}, {"job-id", "j"}, {"base-node", "d"}});
  script.Hear("j", "ready");
  script.HearReady("j");
  script.NoteJobs();
  script.Say("job-dismiss", {{"id", "j"}});
  script.Say("job-complete", {{"id", "j"}});
  script.Hear("j", "null");
  script.NoteJobs();
  script.NoteNodes({"d"});
}

std::string RunScript(const std::string& socket, const std::string& directory) {
  QmpClient client(socket);
  EXPECT_TRUE(client.connected());
  Script script(client, directory);
  SayWhatIsWrong(script);
  SayVerbs(script);
  SayJobs(script);
  SayCommits(script);
  return script.Text();
}

TEST_F(QmpScriptTest, IsAnsweredByBothDaemonsAlike) {
  const TempDir theirs;
  const TempDir ours;
  const TempDir other;
  MakeChain(theirs);
  MakeChain(ours);
  Flatten(ours / "vm1.qcow2", "qcow2", other / "expected.raw");
  std::string their_text;
  {
    const StorageDaemon rival(theirs.path(), {"vm1"}, other.path());
    their_text = RunScript(rival.socket(), theirs.path());
  }
  Daemon daemon({ours.path()}, {"-o", "qmp=" + (other / "ours.sock")});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string our_text = RunScript(other / "ours.sock", ours.path());
  EXPECT_NE(their_text.find("BLOCK_JOB_COMPLETED"), std::string::npos);
  EXPECT_EQ(our_text, their_text);
  EXPECT_TRUE(SameContents(daemon / "vm1.raw", other / "expected.raw"));
  EXPECT_EQ(daemon.Stop().exit_code, 0);
  for (const TempDir* const dir : {&theirs, &ours}) {
    EXPECT_EQ(CheckImage(*dir / "d.qcow2"), 0);
    const Json info = Json::parse(MustRun({"qemu-img", "info", "--output=json", *dir / "d.qcow2"}));
    EXPECT_FALSE(info.contains("backing-filename")) << info;
    Flatten(*dir / "d.qcow2", "qcow2", other / "merged.raw");
    EXPECT_TRUE(SameContents(other / "merged.raw", other / "expected.raw"));
  }
}

// A job outlives the daemon that was told to do it, and is listed by the next.
TEST_F(QmpScriptTest, AJobIsThereAfterAKill) {
  const TempDir dir;
  const TempDir other;
  MakeChain(dir);
  const std::string socket = other / "qmp.sock";
  Daemon daemon({dir.path()}, {"-o", "qmp=" + socket});
  ASSERT_TRUE(daemon.serving());
  {
    QmpClient client(socket);
    client.Return("qmp_capabilities");
    ASSERT_EQ(client.Return("block-stream", {{"device", "vm1"}, {"job-id", "j"}, {"speed", 65536}}),
              Json::object());
    daemon.KillHard();
    EXPECT_TRUE(client.WaitForEvent("SHUTDOWN").is_null());
  }
  ASSERT_TRUE(daemon.Restart());
  QmpClient client(socket);
  ASSERT_TRUE(client.connected());
  client.Return("qmp_capabilities");
  EXPECT_EQ(client.Return("query-block-jobs")[0]["device"], "j");
  EXPECT_EQ(client.Return("block-job-set-speed", {{"device", "j"}, {"speed", 0}}), Json::object());
  EXPECT_EQ(WaitForJob(daemon / "vm1.raw", "j").value("error", ""), "");
  EXPECT_EQ(client.Return("query-jobs")[0]["status"], "concluded");
  EXPECT_EQ(client.Return("job-dismiss", {{"id", "j"}}), Json::object());
  EXPECT_EQ(LayersOf(daemon / "vm1.raw"), Words{"vm1.qcow2"});
  daemon.Stop();
  EXPECT_FALSE(client.WaitForEvent("SHUTDOWN").is_null());
  EXPECT_TRUE(client.NextLine().is_null());
}

// Of a member of a group, what the daemon answers to a stream.
std::string StreamAs(gid_t group, const std::string& socket) {
  std::array<int, 2> pipe = {};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said = "no rights were given up";
    if (::setgroups(0, nullptr) == 0 && ::setresgid(group, group, group) == 0 &&
        ::setresuid(65534, 65534, 65534) == 0) {
      QmpClient client(socket);
      client.Return("qmp_capabilities");
      said = client.Ask("block-stream", {{"device", "vm1"}, {"job-id", "j"}}).dump();
    }
    ::_exit(::write(pipe[1], said.data(), said.size()) > 0 ? 0 : 1);
  }
  ::close(pipe[1]);
  const UniqueFd out(pipe[0]);
  std::string text(4096, '\0');
  const ssize_t got = ::read(out.get(), text.data(), text.size());
  int status = 0;
  ::waitpid(child, &status, 0);
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return text;
}

// Whoever gives commands needs write permission for the disk, as by its file.
TEST_F(QmpScriptTest, TheModeOfTheDiskCounts) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root becomes somebody else";
  constexpr gid_t kGroup = 4711;
  const TempDir dir;
  const TempDir other;
  MakeChain(dir);
  std::filesystem::permissions(dir.path(), std::filesystem::perms(0755));
  std::filesystem::permissions(other.path(), std::filesystem::perms(0755));
  const std::string socket = other / "qmp.sock";
  Daemon daemon({dir.path()},
                {"-o", "allow_other,control_gid=4711,gid=4711,umask=002,qmp=" + socket});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string refused = StreamAs(kGroup, socket);
  EXPECT_NE(refused.find("vm1: its mode does not let you write"), std::string::npos) << refused;
  for (const char* const name : {"base.qcow2", "mid.qcow2", "vm1.qcow2"}) {
    ASSERT_EQ(::chown((dir / name).c_str(), static_cast<uid_t>(-1), kGroup), 0);
    ASSERT_EQ(::chmod((dir / name).c_str(), 0664), 0);
  }
  const std::string accepted = StreamAs(kGroup, socket);
  EXPECT_NE(accepted.find("\"return\":{}"), std::string::npos) << accepted;
}

TEST_F(QmpScriptTest, ABadPathEndsTheStartInOneLine) {
  const TempDir dir;
  const TempDir other;
  MakeChain(dir);
  WriteTextFile(other / "file", "precious");
  const Daemon daemon({dir.path()}, {"-o", "qmp=" + (other / "file")});
  EXPECT_FALSE(daemon.serving());
  EXPECT_NE(daemon.Log().find("something is there that is no socket"), std::string::npos)
      << daemon.Log();
  EXPECT_EQ(ReadTextFile(other / "file"), "precious");
}

}  // namespace
}  // namespace chainfs
