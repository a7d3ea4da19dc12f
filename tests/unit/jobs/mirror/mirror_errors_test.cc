// SPDX-License-Identifier: Apache-2.0
//
// Mirrors whose target fails: the job hears of it, never the guest.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/crash/crash_chain.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kSize = 256 << 10;

class MirrorErrorsTest : public testing::Test {
 protected:
  MirrorErrorsTest() {
    EXPECT_TRUE(CreateQcow2(*host_->OpenRoot(), "vm.qcow2", {.virtual_size = kSize}));
    auto opened = OpenMemCatalog(host_);
    EXPECT_TRUE(opened);
    catalog_ = *std::move(opened);
    jobs_ = std::make_unique<JobManager>(*catalog_, events_, JobTypes(),
                                         JobManagerOptions{.threads = 2, .failed = {}});
    disk_ = catalog_->Find("vm");
    EXPECT_TRUE(Write(0, 1));
  }
  ~MirrorErrorsTest() override {
    host_->ClearFaults();
    jobs_->Shutdown();
    jobs_.reset();
    disk_.reset();
    EXPECT_TRUE(catalog_->Close());
  }
  Status Write(uint64_t offset, int value) {
    return disk_->Write(GuestOffset(offset), Bytes(4096, static_cast<std::byte>(value)));
  }
  std::string Start(const std::string& mode, const std::string& on_error) {
    const auto id = jobs_->Start({.type = "mirror",
                                  .disk = disk_,
                                  .arguments = verbs::Arguments()
                                                   .Set("target", "copy.raw")
                                                   .Set("copy-mode", mode)
                                                   .Set("on-error", on_error),
                                  .privileged = true});
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  JobInfo Wait(const std::string& id, JobStatus status) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    for (;;) {
      const auto job = jobs_->Find("vm", id);
      if (job && job->status == status) return *job;
      if (std::chrono::steady_clock::now() > guard) {
        ADD_FAILURE() << id << " never " << JobStatusName(status);
        return {};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void BreakTarget() {
    host_->AddFault({.matches = On(HostOp::kWrite, "copy.raw"), .skip = 0, .forever = true});
    host_->AddFault({.matches = On(HostOp::kZero, "copy.raw"), .skip = 0, .forever = true});
    host_->AddFault({.matches = On(HostOp::kCopy, "copy.raw"), .skip = 0, .forever = true});
  }
  void ExpectCopy() {
    const auto now = ReadWholeDisk(*disk_);
    ASSERT_TRUE(now);
    EXPECT_EQ(Difference(*now, host_->Contents("copy.raw")), "");
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  EventLog events_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<JobManager> jobs_;
  DiskPtr disk_;
};

TEST_F(MirrorErrorsTest, TheJobStandsStillAndCatchesUp) {
  for (const std::string mode : {"background", "write-blocking"}) {
    const std::string id = Start(mode, "stop");
    Wait(id, JobStatus::kReady);
    BreakTarget();
    ASSERT_TRUE(Write(64 << 10, 2)) << "the guest is not concerned";
    ASSERT_TRUE(Write(128 << 10, 3));
    const JobInfo paused = Wait(id, JobStatus::kStandby);
    EXPECT_TRUE(paused.error.has_value());
    host_->ClearFaults();
    ASSERT_TRUE(Write(64 << 10, 4));
    ASSERT_TRUE(jobs_->Resume(disk_, id));
    Wait(id, JobStatus::kReady);
    ASSERT_TRUE(jobs_->Complete(disk_, id, verbs::Arguments().Set("then", "keep")));
    EXPECT_FALSE(Wait(id, JobStatus::kConcluded).error);
    ExpectCopy();
    ASSERT_TRUE(host_->OpenRoot()->Remove("copy.raw"));
    ASSERT_TRUE(catalog_->Rescan());
  }
}

TEST_F(MirrorErrorsTest, TheJobEndsAndTakesItsTargetAway) {
  const std::string id = Start("background", "report");
  Wait(id, JobStatus::kReady);
  BreakTarget();
  ASSERT_TRUE(Write(64 << 10, 2));
  EXPECT_TRUE(Wait(id, JobStatus::kConcluded).error.has_value());
  EXPECT_FALSE(host_->Exists("copy.raw"));
  EXPECT_FALSE(host_->Exists(".chainfs/intent-" + id));
  ASSERT_TRUE(Write(64 << 10, 3));
}

// Without its log, too, the guest goes on; only the next daemon begins from zero.
TEST_F(MirrorErrorsTest, ALogThatCannotBeWrittenIsGivenUp) {
  const std::string id = Start("background", "report");
  Wait(id, JobStatus::kReady);
  // The first sweep takes the marks back, so that a write needs a new one.
  ASSERT_TRUE(jobs_->Pause(disk_, id));
  Wait(id, JobStatus::kStandby);
  host_->AddFault({.matches = On(HostOp::kWrite, ".chainfs/intent-" + id), .forever = true});
  ASSERT_TRUE(jobs_->Resume(disk_, id));
  for (uint64_t at = 0; at < kSize; at += 32 << 10) ASSERT_TRUE(Write(at, 7));
  ASSERT_TRUE(jobs_->Complete(disk_, id, verbs::Arguments().Set("then", "pivot")));
  EXPECT_FALSE(Wait(id, JobStatus::kConcluded).error);
  EXPECT_EQ(disk_->chain()->active->name, "copy.raw");
}

}  // namespace
}  // namespace chainfs::jobs
