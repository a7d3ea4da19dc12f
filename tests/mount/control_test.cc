// SPDX-License-Identifier: Apache-2.0
//
// The commands and what they answer: every refusal with its errno and its sentence, who may give
// them, and the life of a job under pause, resume, speed, cancel and dismiss.
#include <grp.h>

#include <set>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

// vm.raw: three layers, vm <- mid <- base, 24 MiB of data below the active one; other.raw.
class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    Random random;
    const TempDir making;
    WriteRandomFile(making / "data.raw", 24 << 20, random);
    MustRun({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "data.raw",
             dir_ / "base.qcow2"});
    CreateQcow2(dir_ / "mid.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir_ / "mid.qcow2", "qcow2", {"write -P 1 1M 256k"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "mid.qcow2"});
    CreateQcow2(dir_ / "other.qcow2", {.size = "1M"});
    Flatten(dir_ / "vm.qcow2", "qcow2", flat_);
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    for (const std::string name : {"vm.qcow2", "mid.qcow2", "base.qcow2"}) {
      EXPECT_EQ(CheckImage(dir_ / name), 0);
    }
  }
  void Mount(std::vector<std::string> options = {}) {
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()}, std::move(options));
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
  }
  // The errno, and that it comes with a sentence of its own.
  void ExpectRefused(const std::string& verb, const std::string& value, int expected) {
    EXPECT_EQ(Order(vm_, verb, value), expected) << verb << " " << value;
    const Json error = Status(vm_, "error");
    ASSERT_TRUE(error.is_object()) << verb << " " << value;
    EXPECT_EQ(error["attribute"], "user.chainfs." + verb);
    EXPECT_EQ(error["errno"], strerrorname_np(expected)) << error.dump();
    EXPECT_GT(error["message"].get<std::string>().size(), 10u) << error.dump();
    EXPECT_EQ(Status(daemon_->path(), "error"), error);
  }

  const TempDir dir_;
  const TempDir outside_;
  const std::string flat_ = outside_ / "flat";
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
};

TEST_F(ControlTest, RefusalsChangeNothing) {
  Mount();
  for (const std::string verb : {"frobnicate", "info", "chain", "job", "job.x", "version", ""}) {
    EXPECT_NE(Order(vm_, verb, ""), 0) << verb;
    if (!verb.empty()) ExpectRefused(verb, "", EOPNOTSUPP);
  }
  for (const std::string value :
       {"base", "=mid.qcow2", "base=,", "base=mid.qcow2,base=mid.qcow2", "colour=red",
        "base=", "speed=fast", "speed=-1", "id=7up", "on-error=panic", "generation=x",
        "dry-run=maybe", "base=a\x01"}) {
    ExpectRefused("stream", value, EINVAL);
  }
  ExpectRefused("stream", "base=" + std::string(5000, 'b'), EINVAL);
  ExpectRefused("stream", "base=vm.qcow2", EINVAL);
  ExpectRefused("stream", "top=base.qcow2,base=mid.qcow2", EINVAL);
  ExpectRefused("stream", "base=nothing.qcow2", ENOENT);
  ExpectRefused("stream", "top=other.qcow2", ENOENT);
  ExpectRefused("stream", "compress=zstd", EOPNOTSUPP);
  ExpectRefused("stream", "generation=999999", ECANCELED);
  ExpectRefused("snapshot", "generation=999999", ECANCELED);
  ExpectRefused("snapshot", "target=" + dir_ / "other.qcow2", EEXIST);
  ExpectRefused("snapshot", "cluster_size=65000", EINVAL);
  ExpectRefused("snapshot", "target=/no/such/directory/x.qcow2", ENOENT);
  for (const std::string verb : {"cancel", "pause", "resume", "dismiss"}) {
    ExpectRefused(verb, "", ESRCH);
    ExpectRefused(verb, "id=none", ESRCH);
  }
  ExpectRefused("speed", "limit=1M", ESRCH);
  ExpectRefused("speed", "", EINVAL);
  EXPECT_EQ(SetAttribute(vm_, "user.chainfs.stream", "", XATTR_CREATE), EINVAL);
  EXPECT_EQ(SetAttribute(vm_, "user.chainfs.info", "", XATTR_REPLACE), EOPNOTSUPP);
  EXPECT_EQ(SetAttribute(vm_, "user.chainfs.stream", std::string(65537, 'x')), E2BIG);
  EXPECT_EQ(Order(daemon_->path(), "stream"), EOPNOTSUPP);
  EXPECT_EQ(Order(*daemon_ / ".chainfs/jobs.json", "stream"), EOPNOTSUPP);
  for (const std::string verb : {"stream", "snapshot", "cancel", "flush", "frobnicate", "job"}) {
    EXPECT_EQ(GetAttribute(vm_, "user.chainfs." + verb), "<ENODATA>") << verb;
  }
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
  EXPECT_EQ(GetAttribute(vm_, "user.chainfs.jobs"), "[]");
  EXPECT_TRUE(SameContents(vm_, flat_));
}

TEST_F(ControlTest, StatusNamesWhatThereIs) {
  Mount();
  const Json info = Status(vm_, "info");
  EXPECT_EQ(info["name"], "vm");
  EXPECT_EQ(info["format"], "qcow2");
  EXPECT_EQ(info["virtual-size"], 24 << 20);
  EXPECT_EQ(info["cluster-size"], 65536);
  EXPECT_EQ(info["read-only"], false);
  EXPECT_EQ(info["depth"], 3);
  EXPECT_EQ(info["active"], dir_ / "vm.qcow2");
  const Json chain = Status(vm_, "chain");
  ASSERT_EQ(chain.size(), 3u);
  EXPECT_EQ(chain[0]["backing-filename"], "mid.qcow2");
  EXPECT_EQ(chain[0]["backing-filename-format"], "qcow2");
  EXPECT_EQ(chain[2]["filename"], dir_ / "base.qcow2");
  EXPECT_FALSE(chain[2].contains("backing-filename"));
  EXPECT_TRUE(Status(daemon_->path(), "config").is_object());
  EXPECT_EQ("chainfs " + GetAttribute(daemon_->path(), "user.chainfs.version") + "\n",
            RunCommand({BinaryPath("chainfs"), "--version"}).out);
  const Json chains = ReadJson(*daemon_ / ".chainfs/chains.json");
  EXPECT_EQ(chains["chains"].size(), 4u);
  EXPECT_EQ(ReadJson(*daemon_ / ".chainfs/jobs.json")["jobs"].size(), 0u);
  ReadTextFile(vm_);
  const std::string metrics = ReadTextFile(*daemon_ / ".chainfs/metrics");
  EXPECT_NE(metrics.find("chainfs_"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("disk=\"vm\""), std::string::npos) << metrics;
  // The generation given is the generation checked.
  EXPECT_EQ(Order(vm_, "flush", "generation=" + info["generation"].dump()), 0);
}

TEST_F(ControlTest, ADryRunOnlyEstimates) {
  Mount();
  ASSERT_EQ(Order(vm_, "stream", "dry-run=yes,base=base.qcow2,id=guess"), 0) << LastError(vm_);
  const Json job = WaitForJob(vm_, "guess");
  EXPECT_FALSE(job.contains("error")) << job.dump();
  EXPECT_GE(job["total-progress"], 256 << 10);
  EXPECT_LE(job["total-progress"], 1 << 20);
  ASSERT_EQ(Order(vm_, "snapshot", "dry-run=yes"), 0) << LastError(vm_);
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

TEST_F(ControlTest, OneJobAndItsVerbs) {
  Mount();
  Events events(*daemon_);
  ASSERT_EQ(Order(vm_, "stream", "id=slow,speed=256k"), 0) << LastError(vm_);
  ExpectRefused("stream", "id=slow", EEXIST);
  ExpectRefused("stream", "id=second", EBUSY);
  ExpectRefused("stream", "base=base.qcow2", EBUSY);
  ExpectRefused("resume", "", EINVAL);
  ExpectRefused("dismiss", "id=slow", EINVAL);
  ASSERT_EQ(Order(vm_, "pause"), 0) << LastError(vm_);
  EXPECT_TRUE(Eventually([&] { return Status(vm_, "job")["status"] == "paused"; }));
  const Json paused = Status(vm_, "job.slow");
  EXPECT_EQ(paused["id"], "slow");
  EXPECT_EQ(paused["type"], "stream");
  EXPECT_EQ(paused["speed"], 256 << 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(Status(vm_, "job")["current-progress"], paused["current-progress"]);
  ASSERT_EQ(Order(vm_, "speed", "id=slow,limit=512k"), 0) << LastError(vm_);
  EXPECT_EQ(Status(vm_, "job")["speed"], 512 << 10);
  ASSERT_EQ(Order(vm_, "resume", "id=slow"), 0) << LastError(vm_);
  EXPECT_TRUE(Eventually(
      [&] { return Status(vm_, "job")["current-progress"] > paused["current-progress"]; }));
  EXPECT_EQ(Status(daemon_->path(), "jobs").size(), 1u);
  EXPECT_EQ(ReadJson(*daemon_ / ".chainfs/jobs.json")["jobs"][0]["id"], "slow");

  ASSERT_EQ(Order(vm_, "cancel", "id=slow"), 0) << LastError(vm_);
  const Json cancelled = WaitForJob(vm_, "slow");
  EXPECT_TRUE(cancelled.contains("error")) << cancelled.dump();
  EXPECT_LT(cancelled["current-progress"], cancelled["total-progress"]);
  EXPECT_FALSE(events.WaitFor("BLOCK_JOB_CANCELLED", "slow").is_null());
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
  EXPECT_TRUE(SameContents(vm_, flat_));
  ExpectRefused("cancel", "id=slow", EINVAL);
  ExpectRefused("stream", "id=slow", EEXIST);
  ASSERT_EQ(Order(vm_, "dismiss", "id=slow"), 0) << LastError(vm_);
  EXPECT_EQ(GetAttribute(vm_, "user.chainfs.job.slow"), "<ENODATA>");
  EXPECT_EQ(Status(vm_, "jobs").size(), 0u);

  // The id is free again; and from the root, by its id.
  ASSERT_EQ(Order(vm_, "stream", "id=slow,speed=256k"), 0) << LastError(vm_);
  ASSERT_EQ(Order(daemon_->path(), "speed", "id=slow,limit=0"), 0) << LastError(daemon_->path());
  const Json done = WaitForJob(vm_, "slow");
  EXPECT_FALSE(done.contains("error")) << done.dump();
  EXPECT_EQ(LayersOf(vm_), std::vector<std::string>{"vm.qcow2"});
  EXPECT_TRUE(SameContents(vm_, flat_));
}

TEST_F(ControlTest, ProgressNeverGoesBack) {
  Mount();
  ASSERT_EQ(Order(vm_, "stream", "id=j,speed=16M"), 0) << LastError(vm_);
  uint64_t last = 0;
  Json job;
  EXPECT_TRUE(Eventually([&] {
    job = Status(vm_, "job.j");
    const uint64_t now = job["current-progress"];
    EXPECT_GE(now, last);
    EXPECT_LE(now, job["total-progress"].get<uint64_t>());
    last = now;
    return job["status"] == "concluded";
  }));
  EXPECT_EQ(job["current-progress"], job["total-progress"]) << job.dump();
}

// Runs `action` as another user with this primary group; its return value.
int As(uid_t uid, gid_t gid, const std::function<int()>& action) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const bool changed = ::setgroups(0, nullptr) == 0 && ::setresgid(gid, gid, gid) == 0 &&
                         ::setresuid(uid, uid, uid) == 0;
    ::_exit(changed ? action() : 255);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

TEST_F(ControlTest, OnlySomeMayCommand) {
  constexpr uid_t kNobody = 65534;
  constexpr gid_t kGroup = 54321;
  // The images and the way to them are open to all, or their disks would not be.
  RunCommand({"chmod", "-R", "a+rwX", dir_.path()});
  Mount({"-o", "allow_other,umask=000,control_gid=54321"});
  const auto flush = [&] { return Order(vm_, "flush"); };
  const auto read = [&] { return ::access((*daemon_ / ".chainfs/jobs.json").c_str(), R_OK) == 0; };
  const auto open = [&](int flags) {
    const OpenedFile file(vm_, flags);
    return file.valid() ? 0 : errno;
  };
  EXPECT_EQ(As(kNobody, kNobody, flush), EPERM);
  EXPECT_NE(LastError(vm_), "");
  EXPECT_EQ(As(kNobody, kNobody,
               [&] { return SetAttribute(vm_, "user.chainfs.flush", "", XATTR_CREATE); }),
            EPERM);
  EXPECT_EQ(As(kNobody, kGroup, flush), 0);
  EXPECT_EQ(As(kNobody, kNobody, read), 0);
  EXPECT_EQ(As(kNobody, kGroup, read), 1);
  EXPECT_EQ(As(kNobody, kNobody, [&] { return open(O_RDWR); }), 0);
  // Members may snapshot beneath the sources, root anywhere.
  const std::string target = "target=" + outside_ / "elsewhere.qcow2";
  EXPECT_EQ(As(kNobody, kGroup, [&] { return Order(vm_, "snapshot", target); }), EACCES)
      << LastError(vm_);
  EXPECT_EQ(As(kNobody, kGroup, [&] { return Order(vm_, "snapshot"); }), 0) << LastError(vm_);
  daemon_->Stop();
  ASSERT_TRUE(daemon_->Restart({"-o", "allow_other"}));
  EXPECT_EQ(As(kNobody, kNobody, flush), EACCES);
  EXPECT_EQ(As(kNobody, kNobody, [&] { return open(O_RDONLY); }), 0);
  EXPECT_EQ(As(kNobody, kNobody, [&] { return open(O_RDWR); }), EACCES);
  daemon_->Stop();
  ASSERT_TRUE(daemon_->Restart({}));
  EXPECT_EQ(As(kNobody, kNobody, [&] { return open(O_RDONLY); }), EACCES);
}

}  // namespace
}  // namespace chainfs
