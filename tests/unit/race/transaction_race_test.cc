// SPDX-License-Identifier: Apache-2.0
//
// What comes between the steps of a transaction.
#include "blocklayer/base/sync_point.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class TransactionRaceTest : public StreamFixture {
 protected:
  void SetUp() override {
    Create("base.qcow2", 8 * kMiB);
    Io("base.qcow2", {"write -P 1 0 2M"});
    Create("x.qcow2", 8 * kMiB, "base.qcow2");
    Io("x.qcow2", {"write -P 2 1M 3M"});
    Remember("x.qcow2");
    OpenAll();
  }
  JobCommand BackupOfTop() {
    return {
        .type = "backup",
        .disk = Disk("x"),
        .arguments = verbs::Arguments().Set("target", "t.qcow2").Set("sync", "top").Set("id", "b"),
        .privileged = true};
  }
  void ExpectTargetIsThePoint() {
    EXPECT_EQ(ChainOf("x"), (Words{"x.1.qcow2", "x.qcow2", "base.qcow2"}));
    CloseAll();
    Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("t.qcow2"), At(".x.qcow2")});
  }
};

// The layer that was selected is not the active one any more. Whatever is held by then, the job
// comes to begin as it would have been planned for that.
TEST_F(TransactionRaceTest, ASnapshotBeforeTheMomentIsPlannedFor) {
  {
    const SyncPointHook hook("GroupStarter.Start.arranged", [&] { Snapshot("x"); });
    const Status done = jobs_->StartTogether({BackupOfTop()}, {});
    ASSERT_TRUE(done) << done.error().message;
  }
  const JobInfo info = WaitEnd("x", "b");
  EXPECT_FALSE(info.error) << *info.error;
  ExpectTargetIsThePoint();
}

TEST_F(TransactionRaceTest, ASingleOneIsRefused) {
  {
    const SyncPointHook hook("JobStarter.Record.recorded", [&] { Snapshot("x"); });
    const Result<std::string> id = jobs_->Start(BackupOfTop());
    ASSERT_FALSE(id);
    EXPECT_EQ(id.error().kind, ErrorKind::kStale) << id.error().message;
  }
  EXPECT_TRUE(Records().empty());
  const Result<std::string> id = jobs_->Start(BackupOfTop());
  ASSERT_TRUE(id) << id.error().message;
  const JobInfo info = WaitEnd("x", "b");
  EXPECT_FALSE(info.error) << *info.error;
  ExpectTargetIsThePoint();
}

}  // namespace
}  // namespace chainfs::jobs
