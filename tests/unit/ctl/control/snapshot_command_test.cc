// SPDX-License-Identifier: Apache-2.0
//
// The command snapshot: what it asks of the jobs and what it leaves in their history.
#include "ctl/control/snapshot_command.h"

#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::control {
namespace {

class SnapshotCommandTest : public jobs::StreamFixture {
 protected:
  Status Command(const std::string& value, const std::string& disk = "e") {
    CHAINFS_ASSIGN(
        const verbs::Arguments arguments,
        verbs::Arguments::Parse(value, verbs::FindVerb(verbs::Verbs(), "snapshot")->keys));
    return SnapshotCommand(*catalog_, *jobs_)
        .Run(arguments, disk.empty() ? nullptr : Disk(disk), false);
  }
  ErrorKind KindOf(const Status& status) {
    EXPECT_FALSE(status);
    return status ? ErrorKind::kIo : status.error().kind;
  }
};

TEST_F(SnapshotCommandTest, LeavesAJobOnlyWhenNamed) {
  MakeFive();
  OpenAll();
  ASSERT_TRUE(Command("dry-run=yes"));
  EXPECT_EQ(ChainOf("e").size(), 5u);
  ASSERT_TRUE(Command(""));
  EXPECT_TRUE(jobs_->Jobs("").empty());
  EXPECT_EQ(ChainOf("e").front(), "e.1.qcow2");
  const std::string generation = ",generation=" + std::to_string(Disk("e")->chain()->generation);
  ASSERT_TRUE(Command("id=s2" + generation));
  const auto job = jobs_->Find("e", "s2");
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->type, "snapshot");
  EXPECT_EQ(job->status, jobs::JobStatus::kConcluded);
  EXPECT_EQ(KindOf(Command("id=s3" + generation)), ErrorKind::kStale);
  EXPECT_EQ(KindOf(Command("id=s3,target=a.qcow2")), ErrorKind::kExists);
  EXPECT_FALSE(jobs_->Find("e", "s3").has_value());
}

TEST_F(SnapshotCommandTest, AnIdThatAJobHasIsRefusedBeforeAnythingHappens) {
  MakeFive();
  OpenAll();
  Accepted({.disk = "e", .id = "s", .speed = 1});
  EXPECT_EQ(KindOf(Command("id=s")), ErrorKind::kExists);
  EXPECT_EQ(ChainOf("e").size(), 5u);
}

TEST_F(SnapshotCommandTest, OnTheMountItNamesTheDisk) {
  MakeFive();
  OpenAll();
  EXPECT_EQ(KindOf(Command("", "")), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(Command("disks=nobody", "")), ErrorKind::kNotFound);
  EXPECT_EQ(KindOf(Command("disks=d;e", "")), ErrorKind::kReadOnly) << "e is built on d";
  EXPECT_EQ(KindOf(Command("disks=e;nobody", "")), ErrorKind::kNotFound);
  ASSERT_TRUE(Command("disks=e", ""));
  EXPECT_EQ(ChainOf("e").front(), "e.1.qcow2");
}

TEST_F(SnapshotCommandTest, AReadOnlyMountRefuses) {
  MakeFive();
  OpenAll({.read_only = true});
  EXPECT_EQ(KindOf(Command("")), ErrorKind::kReadOnly);
}

}  // namespace
}  // namespace chainfs::control
