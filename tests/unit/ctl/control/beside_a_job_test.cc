// SPDX-License-Identifier: Apache-2.0
//
// What else may be asked of a disk while a job of any kind runs on it, and what becomes of the job
// when an image is removed under it: whatever is refused says so in a sentence and changes nothing.
#include <ostream>

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

struct RunningJob {
  const char* name;
  const char* verb;
  const char* keys;
  bool lets_snapshot;  // the disk may get a new active layer meanwhile
};

std::ostream& operator<<(std::ostream& out, const RunningJob& job) { return out << job.name; }

// base <- mid <- vm <- vm.1, each with data of its own, and `same`, which is as base.
class BesideAJobTest : public ControlTest, public testing::WithParamInterface<RunningJob> {
 protected:
  using Bytes = std::vector<std::byte>;

  void SetUp() override {
    Make("base.qcow2");
    Open();
    Fill("base", 0, 512 << 10, 'b');
    Close();
    host_->PutFile("same.qcow2", host_->Contents("base.qcow2"));
    Make("mid.qcow2", "base.qcow2");
    Open();
    Fill("mid", 256 << 10, 512 << 10, 'm');
    Close();
    Make("vm.qcow2", "mid.qcow2");
    Open();
    Fill("vm", 128 << 10, 512 << 10, 'v');
    ASSERT_TRUE(Order("vm", "snapshot"));
    Fill("vm", 0, 512 << 10, '1');
    ASSERT_TRUE(Order("vm", "flush"));
    shows_ = All("vm");
  }
  void Fill(const std::string& disk, uint64_t offset, size_t length, char with) {
    const std::string data(length, with);
    const Status written = Find(disk)->Write(GuestOffset(offset), std::as_bytes(std::span(data)));
    ASSERT_TRUE(written) << written.error().message;
  }
  Bytes All(const std::string& name) {
    const DiskPtr disk = Find(name);
    Bytes bytes(disk->size());
    const auto read = disk->Read(GuestOffset(0), bytes);
    EXPECT_TRUE(read && *read == bytes.size());
    return bytes;
  }
  std::string Command(const std::string& id, const std::string& target = "copy.qcow2") const {
    std::string keys = GetParam().keys;
    if (const size_t at = keys.find("TARGET"); at != std::string::npos) keys.replace(at, 6, target);
    return keys + (keys.empty() ? "" : ",") + "speed=1,id=" + id;
  }
  void StartJob(const std::string& id = "j") {
    const Status started = Order("vm", GetParam().verb, Command(id));
    ASSERT_TRUE(started) << started.error().message;
  }
  void ExpectBusy(std::string_view verb, const std::string& value) {
    const Status refused = Order("vm", verb, value);
    ASSERT_FALSE(refused) << verb << " " << value;
    EXPECT_EQ(refused.error().kind, ErrorKind::kBusy) << refused.error().message;
    EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(All("vm"), shows_);
  }

  // Until no job is under way, or, where that is `enough`, one says why it cannot end.
  void WaitOver(bool enough) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(120);
    for (;;) {
      const std::vector<jobs::JobInfo> jobs = plane_->jobs.Jobs("");
      const bool over = std::ranges::all_of(jobs, [enough](const jobs::JobInfo& job) {
        return job.status == jobs::JobStatus::kConcluded || (enough && job.error.has_value());
      });
      if (over) return;
      ASSERT_LT(std::chrono::steady_clock::now(), guard) << jobs::JobToJson(jobs.front());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  Bytes shows_;
};

TEST_P(BesideAJobTest, WhatWouldSpoilItIsRefused) {
  const Words before = Layers("vm");
  StartJob();
  ExpectBusy("resize", "size=2M");
  ExpectBusy("resize", "size=512k,shrink=yes");
  ExpectBusy("revert", "to=mid.qcow2,yes=yes");
  ExpectBusy(GetParam().verb, Command("second", "second.qcow2"));
  EXPECT_FALSE(host_->Exists("second.qcow2"));
  if (GetParam().lets_snapshot) {
    ASSERT_TRUE(Order("vm", "snapshot", "dry-run=yes"));
  } else {
    ExpectBusy("snapshot", "");
    EXPECT_NE(SentenceOf(Order("", "snapshot", "disks=vm;same")), "not refused");
    EXPECT_EQ(Layers("same").size(), 1u) << "of a group none moves";
    EXPECT_NE(SentenceOf(Order("", "transaction", "actions=same/snapshot;vm/snapshot")),
              "not refused");
    EXPECT_EQ(Layers("same").size(), 1u);
  }
  ASSERT_TRUE(Order("vm", "cancel", "id=j"));
  WaitConcluded("vm", "j");
  EXPECT_EQ(Layers("vm"), before);
  EXPECT_EQ(All("vm"), shows_);
  EXPECT_FALSE(host_->Exists("copy.qcow2"));
  const Status resized = Order("vm", "resize", "size=2M");
  EXPECT_TRUE(resized) << SentenceOf(resized);
}

// By somebody else. The job comes to an end, or says what it needs for that, and once the image is
// back all is as it was.
TEST_P(BesideAJobTest, AnImageThatIsMovedAwayMeanwhile) {
  const Words before = Layers("vm");
  for (const std::string removed : {"vm.1.qcow2", "mid.qcow2", "base.qcow2"}) {
    SCOPED_TRACE(removed);
    const std::string id = "without-" + removed;
    StartJob(id);
    ASSERT_TRUE(host_->OpenRoot()->Rename(removed, "elsewhere"));
    ASSERT_TRUE(catalog_->Rescan());
    const Status cancelled = Order("", "cancel", "id=" + id);
    EXPECT_TRUE(cancelled) << SentenceOf(cancelled);
    // Of a backup, the layer that it froze is to be gone on with.
    const bool needs_it = GetParam().name == std::string("backup") && removed == "vm.1.qcow2";
    WaitOver(needs_it);
    if (HasFatalFailure()) return;
    Close();
    ASSERT_TRUE(host_->OpenRoot()->Rename("elsewhere", removed));
    Open();
    plane_->jobs.ResumeRecorded();
    WaitOver(false);
    if (HasFatalFailure()) return;
    EXPECT_FALSE(host_->Exists("copy.qcow2"));
    ASSERT_NE(catalog_->Find("vm"), nullptr);
    EXPECT_EQ(Layers("vm"), before);
    EXPECT_EQ(All("vm"), shows_);
    EXPECT_FALSE(Find("vm")->read_only()) << Find("vm")->ReadOnlyReason();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, BesideAJobTest,
    testing::Values(RunningJob{"stream", "stream", "", true},
                    RunningJob{"commit", "commit", "top=vm.qcow2,base=mid.qcow2", true},
                    RunningJob{"active_commit", "commit", "base=vm.qcow2", false},
                    RunningJob{"mirror", "mirror", "target=TARGET", true},
                    RunningJob{"backup", "backup", "target=TARGET", false},
                    RunningJob{"rebase", "rebase", "base=same.qcow2,top=mid.qcow2", true}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace chainfs::control
