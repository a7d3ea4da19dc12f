// SPDX-License-Identifier: Apache-2.0
//
// An error at every I/O of a backup, a mirror or a rebase: it runs again and again on a fresh host
// in memory, and the N-th call of a kind fails, N = 0, 1, 2..., until it passes untouched. Whatever
// fails, the disk shows what it showed, here and to the next daemon, nothing half made has the
// target's name, and the same command goes through once the fault is gone. A host that is full
// makes a job pause that asked for it, and go on when there is space.
#include <spdlog/spdlog.h>

#include <atomic>

#include "ctl/verbs/verb_table.h"
#include "tests/crash/crash_chain.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 24 * kKiB;
constexpr const char* kTarget = "copy.qcow2";

struct CopyMode {
  const char* name;
  const char* verb;
  const char* keys;
  std::vector<HostOp> calls;
  int error = EIO;
};

const std::vector<HostOp> kSpaceCalls = {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate,
                                         HostOp::kCreate, HostOp::kRename};

std::ostream& operator<<(std::ostream& out, const CopyMode& mode) { return out << mode.name; }

class CopyError : public ::testing::TestWithParam<CopyMode> {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    const auto host = MemHost::Create();
    Guest guest(nullptr, kSize);
    BuildChain(host,
               {{.file = "base.qcow2", .size = kSize, .cluster_bits = 10},
                {.file = "vm.qcow2", .below = "base.qcow2", .size = kSize}},
               guest, random_);
    if (HasFatalFailure()) return;
    // What a rebase may go to.
    host->PutFile("same.qcow2", host->Contents("base.qcow2"));
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
    Result<std::string> Start(const std::string& more = "") {
      const verbs::Verb& verb = *verbs::FindVerb(verbs::Verbs(), GetParam().verb);
      const verbs::Arguments arguments =
          verbs::Arguments::Parse(GetParam().keys + more, verb.keys).value();
      return jobs.Start({.type = GetParam().verb, .disk = disk(), .arguments = arguments});
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
  bool CopyWithFault(const std::shared_ptr<MemHost>& host, uint64_t n) {
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
    const auto id = daemon.Start();
    if (id) {
      const auto job = WaitForJobs(daemon.jobs);
      EXPECT_TRUE(job);
      if (job && !*struck) {
        EXPECT_FALSE(job->error) << *job->error;
      }
      whole_ = job && !job->error;
    } else {
      whole_ = false;
      EXPECT_TRUE(*struck) << id.error().message;
    }
    host->ClearFaults();
    ExpectAsAtStart(disk);
    return *struck;
  }

  // What has the target's name is the whole of it, and nothing else is left.
  void CheckFiles(const std::shared_ptr<MemHost>& host) {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    std::vector<std::string> images;
    const auto entries = root->List();
    ASSERT_TRUE(entries);
    for (const DirectoryEntry& entry : *entries) {
      if (entry.is_file) images.push_back(entry.name);
    }
    for (const std::string& name : images) {
      ASSERT_FALSE(name.ends_with(".part")) << name;
      ASSERT_NE(name, "vm.backup-1.qcow2") << "the overlay of a point in time";
    }
    ASSERT_EQ(CorruptionOf(*root, images), "");
    if (!host->Exists(kTarget)) {
      ASSERT_FALSE(whole_ && GetParam().verb != std::string("rebase"));
      return;
    }
    const auto flat = FlatByHand(*root, kTarget, ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(Difference(at_start_, *flat), "");
  }

  // The next daemon, where nothing fails.
  void CopyAgain(const std::shared_ptr<MemHost>& host) {
    {
      Daemon daemon(host);
      for (const BrokenImage& broken : daemon.catalog->Broken()) {
        ASSERT_NE(broken.name, "vm") << broken.error.message;
      }
      daemon.jobs.ResumeRecorded();
      (void)WaitForJobs(daemon.jobs);
      ExpectAsAtStart(daemon.disk());
      ASSERT_FALSE(daemon.disk()->read_only()) << daemon.disk()->ReadOnlyReason();
      const bool there = host->Exists(kTarget);
      const auto id = daemon.Start();
      if (there) {
        ASSERT_FALSE(id) << "the target exists";
      } else {
        ASSERT_TRUE(id) << id.error().message;
        const auto job = WaitForJobs(daemon.jobs);
        ASSERT_TRUE(job);
        ASSERT_FALSE(job->error) << *job->error;
      }
      ExpectAsAtStart(daemon.disk());
    }
    whole_ = true;
    CheckFiles(host);
  }

  Random random_;
  HostTree start_;
  Bytes at_start_;
  bool whole_ = false;
};

TEST_P(CopyError, AtEveryCall) {
  uint64_t n = 0;
  for (bool struck = true; struck; ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, 5000u) << "the fault never stops striking";
    const auto host = MemHost::FromTree(start_);
    struck = CopyWithFault(host, n);
    if (HasFailure()) return;
    ASSERT_EQ(host->OpenFiles(), 0u) << "files stay open";
    CopyAgain(host);
    if (HasFailure()) return;
  }
  std::printf("[   INFO   ] %llu runs\n", static_cast<unsigned long long>(n));
}

TEST_P(CopyError, AFullHostPausesAndGoesOn) {
  if (GetParam().verb == std::string("rebase")) GTEST_SKIP() << "it copies nothing";
  const auto host = MemHost::FromTree(start_);
  Daemon daemon(host);
  const DiskPtr disk = daemon.disk();
  std::atomic<bool> full = false;
  host->SetHook([&](const HostCall& call) {
    const bool grows = call.op == HostOp::kWrite || call.op == HostOp::kCopy;
    return full && grows && call.name.find(kTarget) != std::string::npos ? ENOSPC : 0;
  });
  const auto id = daemon.Start(",on-error=enospc,speed=512");
  ASSERT_TRUE(id) << id.error().message;
  full = true;
  ASSERT_TRUE(daemon.jobs.SetSpeed(disk, *id, 0));
  const auto status = [&] { return daemon.jobs.Find("vm", *id)->status; };
  const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (status() != jobs::JobStatus::kPaused && std::chrono::steady_clock::now() < guard) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_EQ(status(), jobs::JobStatus::kPaused);
  ExpectAsAtStart(disk);
  // Nobody who uses the disk notices.
  const Bytes sector(at_start_.begin(), at_start_.begin() + kStampSize);
  ASSERT_TRUE(disk->Write(GuestOffset(0), sector));
  full = false;
  const Status resumed = daemon.jobs.Resume(disk, *id);
  ASSERT_TRUE(resumed) << resumed.error().message;
  const auto job = WaitForJobs(daemon.jobs);
  ASSERT_TRUE(job);
  ASSERT_FALSE(job->error) << *job->error;
  whole_ = true;
  ExpectAsAtStart(disk);
  host->SetHook({});
}

INSTANTIATE_TEST_SUITE_P(
    Calls, CopyError,
    ::testing::Values(
        CopyMode{"backup_space", "backup", "target=copy.qcow2,cluster_size=4096", kSpaceCalls,
                 ENOSPC},
        CopyMode{"backup_part_space", "backup", "target=copy.qcow2,cluster_size=4096,sync=top",
                 kSpaceCalls, ENOSPC},
        CopyMode{"backup_reads", "backup", "target=copy.qcow2,cluster_size=4096", {HostOp::kRead}},
        CopyMode{"mirror_space", "mirror", "target=copy.qcow2,cluster_size=4096,then=keep",
                 kSpaceCalls, ENOSPC},
        CopyMode{"mirror_pivot_space", "mirror", "target=copy.qcow2,cluster_size=4096,then=pivot",
                 kSpaceCalls, ENOSPC},
        CopyMode{"mirror_part_space", "mirror",
                 "target=copy.qcow2,cluster_size=4096,then=keep,sync=top", kSpaceCalls, ENOSPC},
        CopyMode{"mirror_syncs",
                 "mirror",
                 "target=copy.qcow2,cluster_size=4096,then=pivot",
                 {HostOp::kDataSync}},
        CopyMode{"mirror_reads",
                 "mirror",
                 "target=copy.qcow2,cluster_size=4096,then=keep",
                 {HostOp::kRead}},
        CopyMode{"rebase_space", "rebase", "base=same.qcow2", kSpaceCalls, ENOSPC},
        CopyMode{"rebase_syncs", "rebase", "base=same.qcow2", {HostOp::kDataSync}},
        CopyMode{"rebase_reads", "rebase", "base=same.qcow2", {HostOp::kRead}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
