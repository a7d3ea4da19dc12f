// SPDX-License-Identifier: Apache-2.0
//
// What a job uses is taken from it by nobody while it runs or is ready: not by another command, not
// by another job, not by qemu-img. And what it tells when it is cancelled then.
#include "tests/unit/jobs/kinds/every_kind_fixture.h"

namespace chainfs::jobs {
namespace {

class LayersInUseTest : public EveryKindFixture {
 protected:
  void SetUp() override {
    MakeChainForAll();
    OpenAll();
  }
  // The files that the job may come to write, as they are called while it runs.
  Words Written(const std::string& id) const {
    const std::string name = GetParam().name;
    if (name == "commit") return {"b.qcow2"};
    if (name == "active_commit") return {"b.qcow2", "e.qcow2"};
    if (name == "mirror") return {"copy.qcow2", "e.qcow2"};
    if (name == "backup") return {"e.qcow2", "e." + id + ".qcow2"};
    return {"e.qcow2"};
  }
  void ExpectNobodyElse(const std::string& id) {
    const auto alone = jobs_->ReserveDisk(*Disk("e"), "revert", "", true);
    ASSERT_FALSE(alone) << "a command that wants the disk alone";
    EXPECT_EQ(alone.error().kind, ErrorKind::kBusy);
    EXPECT_NE(alone.error().message.find(id), std::string::npos) << alone.error().message;
    const auto again = StartOne(",id=again");
    ASSERT_FALSE(again) << "the same once more";
    EXPECT_TRUE(again.error().kind == ErrorKind::kBusy ||
                again.error().kind == ErrorKind::kInvalidArgument ||
                again.error().kind == ErrorKind::kExists)
        << again.error().message;
    for (const std::string& file : Written(id)) {
      const CommandResult written =
          RunCommand({"qemu-io", "-f", "qcow2", "-c", "write 0 512", At(file)});
      EXPECT_FALSE(written.ok()) << file << " could be opened for writing";
      EXPECT_NE(written.Describe().find("lock"), std::string::npos) << written.Describe();
    }
    EXPECT_EQ(jobs_->Jobs("e").size(), 1u);
  }
  // Its events and statuses from `seq` on, without those of progress.
  Words Story(const std::string& id, uint64_t seq) const {
    Words story;
    for (const auto& event : Events()) {
      if (event.value("id", "") != id || event["seq"] < seq) continue;
      if (event["event"] == "JOB_PROGRESS") continue;
      story.push_back(event["event"] == "JOB_STATUS_CHANGE" ? event["status"] : event["event"]);
    }
    return story;
  }
  void ExpectCancelled(const std::string& id) {
    const uint64_t seq = events_->NextSequence();
    ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
    const JobInfo info = WaitEnd("e", id);
    EXPECT_TRUE(info.cancelled);
    EXPECT_EQ(Story(id, seq), (Words{"aborting", "BLOCK_JOB_CANCELLED", "concluded"}));
    EXPECT_TRUE(Records().empty());
    EXPECT_FALSE(Exists("copy.qcow2") && std::string(GetParam().name) == "mirror")
        << "the target that it has made stays";
    // The disk is free again.
    EXPECT_TRUE(jobs_->ReserveDisk(*Disk("e"), "revert", "", true));
    CloseAll();
    ExpectAsRemembered("e.qcow2");
    EXPECT_EQ(ChainOnDisk("e.qcow2").size(), 5u);
  }
};

TEST_P(LayersInUseTest, WhileItRuns) {
  const std::string id = StartSlowly();
  ExpectNobodyElse(id);
  ExpectCancelled(id);
}

TEST_P(LayersInUseTest, WhileItIsReady) {
  if (!GetParam().gets_ready) return;
  const Result<std::string> id = StartOne();
  ASSERT_TRUE(id) << id.error().message;
  WaitReady(*id);
  ExpectNobodyElse(*id);
  ExpectCancelled(*id);
}

INSTANTIATE_TEST_SUITE_P(Jobs, LayersInUseTest, testing::ValuesIn(EveryKindOfJob()), NameOfKind);

}  // namespace
}  // namespace chainfs::jobs
