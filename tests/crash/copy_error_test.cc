// SPDX-License-Identifier: Apache-2.0
//
// An error at every I/O of a backup, a mirror or a rebase: it runs again and again on a fresh host
// in memory, and the N-th call of a kind fails, N = 0, 1, 2..., until it passes untouched. Whatever
// fails, the disk shows what it showed, here and to the next daemon, nothing half made has the
// target's name, and the same command goes through once the fault is gone. A host that is full
// makes a job pause that asked for it, and go on when there is space.
#include "tests/crash/job_error.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 24 * kKiB;
constexpr const char* kTarget = "copy.qcow2";

const std::vector<HostOp> kSpaceCalls = {HostOp::kWrite, HostOp::kCopy, HostOp::kTruncate,
                                         HostOp::kCreate, HostOp::kRename};

class CopyError : public JobErrorTest {
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
    StartFrom(host);
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
      ASSERT_NO_FATAL_FAILURE(TakeUp(daemon));
      const bool there = host->Exists(kTarget);
      const auto id = daemon.Start();
      if (there) {
        ASSERT_FALSE(id) << "the target exists";
      } else {
        ASSERT_TRUE(id) << id.error().message;
        ASSERT_NO_FATAL_FAILURE(ExpectGoodEnd(daemon));
      }
      ExpectAsAtStart(daemon.disk());
    }
    whole_ = true;
    CheckFiles(host);
  }
};

TEST_P(CopyError, AtEveryCall) {
  FailAtEveryCall([&](const std::shared_ptr<MemHost>& host) { CopyAgain(host); });
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
  ASSERT_NO_FATAL_FAILURE(WaitForPause(daemon, *id));
  ExpectAsAtStart(disk);
  // Nobody who uses the disk notices.
  const Bytes sector(at_start_.begin(), at_start_.begin() + kStampSize);
  ASSERT_TRUE(disk->Write(GuestOffset(0), sector));
  full = false;
  const Status resumed = daemon.jobs.Resume(disk, *id);
  ASSERT_TRUE(resumed) << resumed.error().message;
  ASSERT_NO_FATAL_FAILURE(ExpectGoodEnd(daemon));
  whole_ = true;
  ExpectAsAtStart(disk);
  host->SetHook({});
}

INSTANTIATE_TEST_SUITE_P(
    Calls, CopyError,
    ::testing::Values(
        JobErrorMode{"backup_space", "backup", "target=copy.qcow2,cluster_size=4096", kSpaceCalls,
                     ENOSPC},
        JobErrorMode{"backup_part_space", "backup", "target=copy.qcow2,cluster_size=4096,sync=top",
                     kSpaceCalls, ENOSPC},
        JobErrorMode{
            "backup_reads", "backup", "target=copy.qcow2,cluster_size=4096", {HostOp::kRead}},
        JobErrorMode{
            "backup_syncs", "backup", "target=copy.qcow2,cluster_size=4096", {HostOp::kDataSync}},
        JobErrorMode{"mirror_space", "mirror", "target=copy.qcow2,cluster_size=4096,then=keep",
                     kSpaceCalls, ENOSPC},
        JobErrorMode{"mirror_pivot_space", "mirror",
                     "target=copy.qcow2,cluster_size=4096,then=pivot", kSpaceCalls, ENOSPC},
        JobErrorMode{"mirror_part_space", "mirror",
                     "target=copy.qcow2,cluster_size=4096,then=keep,sync=top", kSpaceCalls, ENOSPC},
        JobErrorMode{"mirror_syncs",
                     "mirror",
                     "target=copy.qcow2,cluster_size=4096,then=pivot",
                     {HostOp::kDataSync}},
        JobErrorMode{"mirror_reads",
                     "mirror",
                     "target=copy.qcow2,cluster_size=4096,then=keep",
                     {HostOp::kRead}},
        JobErrorMode{"rebase_space", "rebase", "base=same.qcow2", kSpaceCalls, ENOSPC},
        JobErrorMode{"rebase_syncs", "rebase", "base=same.qcow2", {HostOp::kDataSync}},
        JobErrorMode{"rebase_reads", "rebase", "base=same.qcow2", {HostOp::kRead}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
