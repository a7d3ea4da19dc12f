// SPDX-License-Identifier: Apache-2.0
//
// An error at every I/O of a commit: it runs again and again on a fresh host in memory, and the
// N-th call of a kind fails, N = 0, 1, 2..., until it passes untouched. Whatever fails, the disk
// shows what it showed, here and to the next daemon, no image is corrupt, and the same commit goes
// through once the fault is gone. A host that is full makes a job pause that asked for it, and go
// on when there is space.
#include "tests/crash/job_error.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 24 * kKiB;

class CommitError : public JobErrorTest {
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
    StartFrom(host);
  }

  void CommitAgain(const std::shared_ptr<MemHost>& host) {
    Daemon daemon(host);
    ASSERT_NO_FATAL_FAILURE(TakeUp(daemon));
    if (daemon.disk()->chain()->depth() == 4) {
      const auto id = daemon.Start();
      ASSERT_TRUE(id) << id.error().message;
      ASSERT_NO_FATAL_FAILURE(ExpectGoodEnd(daemon));
    }
    ASSERT_LT(daemon.disk()->chain()->depth(), 4u);
    ExpectAsAtStart(daemon.disk());
  }
};

TEST_P(CommitError, AtEveryCall) {
  FailAtEveryCall([&](const std::shared_ptr<MemHost>& host) {
    CommitAgain(host);
    std::vector<std::string> files = {"base.qcow2", "a.qcow2", "b.qcow2", "vm.qcow2"};
    std::erase_if(files, [&](const std::string& file) { return !host->Exists(file); });
    ASSERT_EQ(CorruptionOf(*host->OpenRoot(), files), "");
  });
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
  const auto id = daemon.Start(",on-error=enospc");
  ASSERT_TRUE(id) << id.error().message;
  ASSERT_NO_FATAL_FAILURE(WaitForPause(daemon, *id));
  ExpectAsAtStart(daemon.disk());
  full = false;
  const Status resumed = daemon.jobs.Resume(daemon.disk(), *id);
  ASSERT_TRUE(resumed) << resumed.error().message;
  ASSERT_NO_FATAL_FAILURE(ExpectGoodEnd(daemon));
  ExpectAsAtStart(daemon.disk());
  host->SetHook({});
}

INSTANTIATE_TEST_SUITE_P(
    Calls, CommitError,
    ::testing::Values(
        JobErrorMode{
            "writes", "commit", "top=b.qcow2,base=base.qcow2", {HostOp::kWrite, HostOp::kCopy}},
        JobErrorMode{
            "space",
            "commit",
            "top=b.qcow2,base=base.qcow2,reclaim=yes",
            {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate, HostOp::kCreate, HostOp::kRename},
            ENOSPC},
        JobErrorMode{
            "syncs", "commit", "top=b.qcow2,base=base.qcow2,delete=empty", {HostOp::kDataSync}},
        JobErrorMode{"reads", "commit", "top=b.qcow2,base=base.qcow2", {HostOp::kRead}},
        JobErrorMode{"active_reads", "commit", "base=base.qcow2", {HostOp::kRead}},
        JobErrorMode{"active_writes", "commit", "base=base.qcow2", {HostOp::kWrite, HostOp::kCopy}},
        JobErrorMode{
            "active_space",
            "commit",
            "base=base.qcow2,delete=yes",
            {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate, HostOp::kCreate, HostOp::kRename},
            ENOSPC},
        JobErrorMode{"active_syncs", "commit", "base=a.qcow2", {HostOp::kDataSync}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
