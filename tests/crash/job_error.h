// SPDX-License-Identifier: Apache-2.0
//
// The frame of the tests of errors: a job runs again and again on a fresh host in memory, and the
// N-th call of a kind fails, N = 0, 1, 2..., until it passes untouched.
#pragma once

#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>

#include "ctl/verbs/verb_table.h"
#include "tests/crash/crash_chain.h"

namespace chainfs {

struct JobErrorMode {
  const char* name;
  const char* verb;
  const char* keys;
  std::vector<HostOp> calls;  // of which one fails
  int error = EIO;
};

inline std::ostream& operator<<(std::ostream& out, const JobErrorMode& mode) {
  return out << mode.name;
}

// The disk is vm.
class JobErrorTest : public ::testing::TestWithParam<JobErrorMode> {
 protected:
  // What the disk shows here is what it must always show; every run starts from it.
  void StartFrom(const std::shared_ptr<MemHost>& host) {
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

  // Concluded; or a flush has failed, and what it did is taken back by the next daemon.
  static std::optional<jobs::JobInfo> WaitForEnd(Daemon& daemon) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < guard) {
      const std::vector<jobs::JobInfo> all = daemon.jobs.Jobs("");
      if (all.empty()) return std::nullopt;
      const jobs::JobInfo& job = all.front();
      const bool stuck = job.status == jobs::JobStatus::kAborting && job.error &&
                         job.error->find("an earlier flush failed") != std::string::npos;
      if (stuck || job.status == jobs::JobStatus::kConcluded) return job;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    ADD_FAILURE() << "the job does not end";
    return std::nullopt;
  }

  // The N-th call fails; true when there was one.
  bool RunWithFault(const std::shared_ptr<MemHost>& host, uint64_t n) {
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
      const auto job = WaitForEnd(daemon);
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

  // What the next daemon finds, where nothing fails, once all is taken up.
  void TakeUp(Daemon& daemon) {
    for (const BrokenImage& broken : daemon.catalog->Broken()) {
      ASSERT_NE(broken.name, "vm") << broken.error.message;
    }
    daemon.jobs.ResumeRecorded();
    (void)WaitForJobs(daemon.jobs);
    ExpectAsAtStart(daemon.disk());
    ASSERT_FALSE(daemon.disk()->read_only()) << daemon.disk()->ReadOnlyReason();
  }

  static void ExpectGoodEnd(Daemon& daemon) {
    const auto job = WaitForJobs(daemon.jobs);
    ASSERT_TRUE(job);
    ASSERT_FALSE(job->error) << *job->error;
  }

  static void WaitForPause(Daemon& daemon, const std::string& id) {
    const auto status = [&] { return daemon.jobs.Find("vm", id)->status; };
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (status() != jobs::JobStatus::kPaused && std::chrono::steady_clock::now() < guard) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(status(), jobs::JobStatus::kPaused);
  }

  // `again`: gives the same command where nothing fails, and looks at everything.
  void FailAtEveryCall(const std::function<void(const std::shared_ptr<MemHost>&)>& again) {
    uint64_t n = 0;
    for (bool struck = true; struck; ++n) {
      SCOPED_TRACE(n);
      ASSERT_LT(n, 5000u) << "the fault never stops striking";
      const auto host = MemHost::FromTree(start_);
      struck = RunWithFault(host, n);
      if (HasFailure()) return;
      ASSERT_EQ(host->OpenFiles(), 0u) << "files stay open";
      again(host);
      if (HasFailure()) return;
    }
    std::printf("[   INFO   ] %llu runs\n", static_cast<unsigned long long>(n));
  }

  Random random_;
  HostTree start_;
  Bytes at_start_;
  bool whole_ = false;  // the last job ended well
};

}  // namespace chainfs
