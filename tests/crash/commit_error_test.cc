// SPDX-License-Identifier: Apache-2.0
//
// An error at every I/O of a commit: it runs again and again on a fresh host in memory, and the
// N-th call of a kind fails, N = 0, 1, 2..., until it passes untouched. Whatever fails, the disk
// shows what it showed, here and to the next daemon, no image is corrupt, and the same commit goes
// through once the fault is gone. A host that is full makes a job pause that asked for it, and go
// on when there is space.
#include <spdlog/spdlog.h>

#include <atomic>

#include "jobs/commit/commit_type.h"
#include "tests/crash/crash_chain.h"
#include "tests/support/effort.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 24 * kKiB;

struct Mode {
  const char* name;
  const char* keys;
  std::vector<HostOp> calls;
  int error = EIO;
};

std::ostream& operator<<(std::ostream& out, const Mode& mode) { return out << mode.name; }

class CommitError : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    const auto host = MemHost::Create();
    Guest guest(nullptr, kSize);
    BuildChain(host,
               {{.file = "base.qcow2", .size = kSize, .cluster_bits = 10},
                {.file = "a.qcow2", .below = "base.qcow2", .size = kSize},
                {.file = "b.qcow2", .below = "a.qcow2", .size = kSize},
                {.file = "vm.qcow2", .below = "b.qcow2", .size = kSize}},
               guest, random_);
    if (HasFatalFailure()) return;
    start_ = host->Snapshot();
    const auto flat = FlatByHand(*host->OpenRoot(), "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat);
    at_start_ = *flat;
  }

  struct Daemon {
    explicit Daemon(const std::shared_ptr<MemHost>& host)
        : catalog(OpenMemCatalog(host).value()),
          jobs(*catalog, events, jobs::JobTypes(), {.threads = 2}) {}
    ~Daemon() {
      jobs.Shutdown();
      (void)catalog->Close();
    }
    DiskPtr disk() const { return catalog->Find("vm"); }
    Result<std::string> Start(const std::string& keys) {
      const verbs::Arguments arguments =
          verbs::Arguments::Parse(keys, jobs::CommitType().keys).value();
      return jobs.Start({.type = "commit", .disk = disk(), .arguments = arguments});
    }

    std::unique_ptr<Catalog> catalog;
    jobs::EventLog events;
    jobs::JobManager jobs;
  };

  void ExpectAsAtStart(const DiskPtr& disk) {
    ASSERT_NE(disk, nullptr);
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(Difference(at_start_, *contents), "");
  }

  // The N-th call fails; true when there was one.
  bool CommitWithFault(const std::shared_ptr<MemHost>& host, uint64_t n) {
    const auto struck = std::make_shared<std::atomic<bool>>(false);
    const auto seen = std::make_shared<std::atomic<uint64_t>>(0);
    Daemon daemon(host);
    const DiskPtr disk = daemon.disk();
    host->AddFault({.matches =
                        [struck, seen, n](const HostCall& call) {
                          const std::vector<HostOp>& calls = GetParam().calls;
                          if (std::ranges::find(calls, call.op) == calls.end()) return false;
                          if ((*seen)++ == n) *struck = true;
                          return true;
                        },
                    .skip = n,
                    .error = GetParam().error});
    const auto id = daemon.Start(GetParam().keys);
    if (id) {
      const auto job = WaitForJobs(daemon.jobs);
      EXPECT_TRUE(job);
      if (job && !*struck) {
        EXPECT_FALSE(job->error) << *job->error;
      }
    } else {
      EXPECT_TRUE(*struck) << id.error().message;
    }
    host->ClearFaults();
    ExpectAsAtStart(disk);
    return *struck;
  }

  void CommitAgain(const std::shared_ptr<MemHost>& host) {
    Daemon daemon(host);
    for (const BrokenImage& broken : daemon.catalog->Broken()) {
      ASSERT_NE(broken.name, "vm") << broken.error.message;
    }
    daemon.jobs.ResumeRecorded();
    (void)WaitForJobs(daemon.jobs);
    ExpectAsAtStart(daemon.disk());
    ASSERT_FALSE(daemon.disk()->read_only()) << daemon.disk()->ReadOnlyReason();
    if (daemon.disk()->chain()->depth() == 4) {
      const auto id = daemon.Start(GetParam().keys);
      ASSERT_TRUE(id) << id.error().message;
      const auto job = WaitForJobs(daemon.jobs);
      ASSERT_TRUE(job);
      ASSERT_FALSE(job->error) << *job->error;
    }
    ASSERT_LT(daemon.disk()->chain()->depth(), 4u);
    ExpectAsAtStart(daemon.disk());
  }

  Random random_;
  HostTree start_;
  Bytes at_start_;
};

TEST_P(CommitError, AtEveryCall) {
  uint64_t n = 0;
  for (bool struck = true; struck; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, 5000u) << "the fault never stops striking";
    const auto host = MemHost::FromTree(start_);
    struck = CommitWithFault(host, n);
    if (HasFailure()) return;
    ASSERT_EQ(host->OpenFiles(), 0u) << "files stay open";
    CommitAgain(host);
    if (HasFailure()) return;
    std::vector<std::string> files = {"base.qcow2", "a.qcow2", "b.qcow2", "vm.qcow2"};
    std::erase_if(files, [&](const std::string& file) { return !host->Exists(file); });
    ASSERT_EQ(CorruptionOf(*host->OpenRoot(), files), "");
  }
  std::printf("[   INFO   ] %llu runs\n", static_cast<unsigned long long>(n));
}

TEST_P(CommitError, AFullHostPausesAndGoesOn) {
  const auto host = MemHost::FromTree(start_);
  Daemon daemon(host);
  std::atomic<bool> full = true;
  host->SetHook([&](const HostCall& call) {
    const std::string keys = GetParam().keys;
    const bool grows =
        call.op == HostOp::kWrite && keys.find("base=" + call.name) != std::string::npos;
    return full && grows ? ENOSPC : 0;
  });
  const auto id = daemon.Start(std::string(GetParam().keys) + ",on-error=enospc");
  ASSERT_TRUE(id) << id.error().message;
  const auto status = [&] { return daemon.jobs.Find("vm", *id)->status; };
  const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (status() != jobs::JobStatus::kPaused && std::chrono::steady_clock::now() < guard) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(status(), jobs::JobStatus::kPaused);
  ExpectAsAtStart(daemon.disk());
  full = false;
  const Status resumed = daemon.jobs.Resume(daemon.disk(), *id);
  ASSERT_TRUE(resumed) << resumed.error().message;
  const auto job = WaitForJobs(daemon.jobs);
  ASSERT_TRUE(job);
  ASSERT_FALSE(job->error) << *job->error;
  ExpectAsAtStart(daemon.disk());
  host->SetHook({});
}

INSTANTIATE_TEST_SUITE_P(
    Calls, CommitError,
    ::testing::Values(
        Mode{"writes", "top=b.qcow2,base=base.qcow2", {HostOp::kWrite, HostOp::kCopy}},
        Mode{"space",
             "top=b.qcow2,base=base.qcow2,reclaim=yes",
             {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate, HostOp::kCreate, HostOp::kRename},
             ENOSPC},
        Mode{"syncs", "top=b.qcow2,base=base.qcow2,delete=empty", {HostOp::kDataSync}},
        Mode{"reads", "top=b.qcow2,base=base.qcow2", {HostOp::kRead}},
        Mode{"active_reads", "base=base.qcow2", {HostOp::kRead}},
        Mode{"active_writes", "base=base.qcow2", {HostOp::kWrite, HostOp::kCopy}},
        Mode{"active_space",
             "base=base.qcow2,delete=yes",
             {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate, HostOp::kCreate, HostOp::kRename},
             ENOSPC},
        Mode{"active_syncs", "base=a.qcow2", {HostOp::kDataSync}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
