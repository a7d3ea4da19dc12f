// SPDX-License-Identifier: Apache-2.0
//
// Texts are those of QEMU 7.2's monitor.
#include "ctl/qmp/monitor_command.h"

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class MonitorCommandTest : public QmpTest {
 protected:
  void SetUp() override {
    QmpTest::SetUp();
    client_ = Connect();
  }
  std::string Type(const std::string& line) {
    return client_->Return("human-monitor-command", {{"command-line", line}}).get<std::string>();
  }

  std::unique_ptr<QmpClient> client_;
};

TEST_F(MonitorCommandTest, SnapshotsStreamsAndTellsOfJobs) {
  EXPECT_EQ(Type("info block-jobs"), "No active jobs\r\n");
  EXPECT_EQ(Type("snapshot_blkdev vm /mem/d.qcow2"), "");
  EXPECT_EQ(Layers("vm")[0], "d.qcow2");
  EXPECT_EQ(Type("block_stream vm 1b"), "");  // base has something that takes a while
  const std::string jobs = Type("info block-jobs");
  EXPECT_TRUE(jobs.starts_with("Streaming device vm: Completed ")) << jobs;
  EXPECT_TRUE(jobs.ends_with(" bytes, speed limit 1 bytes/s\r\n")) << jobs;
  EXPECT_EQ(Type("block_job_pause vm"), "");
  StatusesUntil(*client_, "vm", "paused");
  EXPECT_EQ(Type("block_job_cancel vm"),
            "Error: The block job for device 'vm' is currently paused\r\n");
  EXPECT_EQ(Type("block_job_resume vm"), "");
  // While it is paused no speed brings it to its end.
  EXPECT_EQ(Type("block_job_pause vm"), "");
  StatusesUntil(*client_, "vm", "paused");
  EXPECT_EQ(Type("block_job_set_speed vm 10"), "");
  EXPECT_EQ(plane_->jobs.Find("vm", "vm")->speed, 10U << 20);
  EXPECT_EQ(Type("block_job_cancel -f vm"), "");
  EXPECT_FALSE(client_->WaitForEvent("BLOCK_JOB_CANCELLED", "vm").is_null());
}

TEST_F(MonitorCommandTest, WhatIsWrongIsTheAnswer) {
  EXPECT_EQ(Type(""), "");
  EXPECT_EQ(Type("bla"), "unknown command: 'bla'\r\n");
  EXPECT_EQ(Type("info bla"), "unknown command: 'info bla'\r\n");
  EXPECT_EQ(Type("block_stream"),
            "block_stream: block device name expected\r\n"
            "Try \"help block_stream\" for more information\r\n");
  EXPECT_EQ(Type("block_stream no"), "Error: Cannot find device='no' nor node-name='no'\r\n");
  EXPECT_EQ(Type("block_stream vm /x"),
            "invalid size\r\nTry \"help block_stream\" for more information\r\n");
  EXPECT_EQ(Type("block_stream vm 1 base.qcow2 more"),
            "block_stream: extraneous characters at the end of line\r\n"
            "Try \"help block_stream\" for more information\r\n");
  EXPECT_EQ(Type("snapshot_blkdev vm"), "Error: Parameter 'snapshot-file' is missing\r\n");
  EXPECT_EQ(Type("block_job_cancel vm"), "Error: Block job 'vm' not found\r\n");
  EXPECT_EQ(Type("help block_stream"),
            "block_stream device [speed [base]] -- copy data from a backing file into a block "
            "device\r\n");
}

TEST_F(MonitorCommandTest, CopiesAndResizes) {
  EXPECT_EQ(Type("block_resize vm 2"), "");
  EXPECT_EQ(Find("vm")->size(), 2U << 20);
  EXPECT_EQ(Type("drive_mirror vm"),
            "drive_mirror: string expected\r\n"
            "Try \"help drive_mirror\" for more information\r\n");
  // Without -f only what the active layer has.
  EXPECT_EQ(Type("drive_mirror vm /mem/top.qcow2 qcow2"), "");
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_READY", "vm").is_null());
  EXPECT_EQ(Type("block_job_complete vm"), "");
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"top.qcow2", "base.qcow2"}));
  EXPECT_EQ(Type("drive_backup -f -c vm /mem/all.qcow2"), "");
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  EXPECT_TRUE(host_->Exists("all.qcow2"));
  EXPECT_EQ(Type("drive_mirror -f vm /mem/all.raw raw"), "");
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_READY", "vm").is_null());
  EXPECT_EQ(Type("block_job_cancel vm"), "") << "which keeps it";
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  EXPECT_TRUE(host_->Exists("all.raw"));
  EXPECT_EQ(Layers("vm")[0], "top.qcow2");
}

TEST_F(MonitorCommandTest, WordsMayBeQuoted) {
  EXPECT_EQ(Type("snapshot_blkdev \"vm\"  \"/mem/with \\\"space.qcow2\""), "");
  EXPECT_EQ(Layers("vm")[0], "with \"space.qcow2");
}

}  // namespace
}  // namespace chainfs::qmp
