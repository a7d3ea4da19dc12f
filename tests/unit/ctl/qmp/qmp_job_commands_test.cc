// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/job_commands.h"

#include <fmt/format.h>

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

using JobCommandsTest = QmpTest;
using Statuses = std::vector<std::string>;

TEST_F(JobCommandsTest, AStreamTellsItsLifeAndIsForgotten) {
  const auto client = Connect();
  EXPECT_EQ(client->Return("block-stream", {{"device", "vm"}, {"job-id", "j"}}), json::object());
  const json done = client->WaitForEvent("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(done.is_null());
  EXPECT_EQ(
      done["data"],
      (json{{"type", "stream"}, {"device", "j"}, {"len", kSize}, {"offset", kSize}, {"speed", 0}}));
  EXPECT_EQ(StatusesUntil(*client, "j", "null"), (Statuses{"concluded", "null"}));
  EXPECT_EQ(client->Return("query-jobs"), json::array());
  EXPECT_EQ(client->Return("query-block-jobs"), json::array());
  EXPECT_EQ(Layers("vm"), control::Words{"vm.qcow2"});
  EXPECT_EQ(plane_->jobs.Jobs("").size(), 0U);
}

TEST_F(JobCommandsTest, AnIdIsFreeAsSoonAsItsJobHasEnded) {
  const auto client = Connect();
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(client->Return("block-stream", {{"device", "vm"}, {"job-id", "j"}}), json::object());
    ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "j").is_null());
    ASSERT_EQ(client->Return("query-jobs"), json::array());
  }
}

TEST_F(JobCommandsTest, AJobWithoutAutoDismissStays) {
  const auto client = Connect();
  json arguments = {{"device", "vm"}, {"job-id", "j"}, {"auto-dismiss", false}};
  EXPECT_EQ(client->Return("block-stream", arguments), json::object());
  EXPECT_EQ(StatusesUntil(*client, "j", "concluded"),
            (Statuses{"created", "running", "waiting", "pending", "concluded"}));
  EXPECT_EQ(client->Return("query-jobs")[0]["status"], "concluded");
  EXPECT_EQ(client->Return("query-block-jobs")[0]["auto-dismiss"], false);
  EXPECT_EQ(client->Error("block-stream", arguments), "Job ID 'j' already in use");
  EXPECT_EQ(client->Error("job-cancel", {{"id", "j"}}),
            "Job 'j' in state 'concluded' cannot accept command verb 'cancel'");
  EXPECT_EQ(client->Return("job-dismiss", {{"id", "j"}}), json::object());
  EXPECT_EQ(StatusesUntil(*client, "j", "null"), Statuses{"null"});
  EXPECT_EQ(client->Return("query-jobs"), json::array());
}

TEST_F(JobCommandsTest, VerbsAreAnsweredAsTheStateHasIt) {
  const auto client = Connect();
  const json id = {{"id", "j"}};
  const json device = {{"device", "j"}};
  EXPECT_EQ(client->Return("block-stream", SlowStream("j")), json::object());
  EXPECT_EQ(StatusesUntil(*client, "j", "running"), (Statuses{"created", "running"}));
  for (const char* const verb : {"complete", "finalize", "dismiss"}) {
    EXPECT_EQ(client->Error(std::string("job-") + verb, id),
              fmt::format("Job 'j' in state 'running' cannot accept command verb '{}'", verb));
  }
  EXPECT_EQ(client->Error("job-resume", id), "Can't resume a job that was not paused");
  EXPECT_EQ(client->Return("job-pause", id), json::object());
  EXPECT_EQ(StatusesUntil(*client, "j", "paused"), Statuses{"paused"});
  EXPECT_EQ(client->Error("block-job-pause", device), "Job is already paused");
  EXPECT_EQ(client->Error("block-job-cancel", device),
            "The block job for device 'j' is currently paused");
  EXPECT_EQ(client->Error("block-job-set-speed", {{"device", "j"}, {"speed", -5}}),
            "Parameter 'speed' expects a non-negative value");
  EXPECT_EQ(client->Return("block-job-set-speed", {{"device", "j"}, {"speed", 2}}), json::object());
  const json job = client->Return("query-block-jobs")[0];
  EXPECT_EQ(job["paused"], true);
  EXPECT_EQ(job["speed"], 2);
  EXPECT_EQ(job["io-status"], "ok");
  EXPECT_EQ(client->Return("block-job-resume", device), json::object());
  EXPECT_EQ(StatusesUntil(*client, "j", "running"), Statuses{"running"});
  EXPECT_EQ(client->Return("job-cancel", id), json::object());
  EXPECT_EQ(client->WaitForEvent("BLOCK_JOB_CANCELLED", "j")["data"]["device"], "j");
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
}

TEST_F(JobCommandsTest, AForcedCancelTakesAPausedJob) {
  const auto client = Connect();
  client->Return("block-stream", SlowStream("j"));
  client->Return("job-pause", {{"id", "j"}});
  EXPECT_EQ(client->Return("block-job-cancel", {{"device", "j"}, {"force", true}}), json::object());
  EXPECT_FALSE(client->WaitForEvent("BLOCK_JOB_CANCELLED", "j").is_null());
}

TEST_F(JobCommandsTest, AMissingJobHasItsClass) {
  const auto client = Connect();
  for (const char* const verb : {"pause", "resume", "cancel", "complete", "finalize", "dismiss"}) {
    const bool by_id = std::string(verb) == "finalize" || std::string(verb) == "dismiss";
    EXPECT_EQ(client->Ask(std::string("job-") + verb, {{"id", "j"}})["error"],
              (json{{"class", "GenericError"}, {"desc", "Job not found"}}));
    EXPECT_EQ(
        client->Ask(std::string("block-job-") + verb, {{by_id ? "id" : "device", "j"}})["error"],
        (json{{"class", "DeviceNotActive"}, {"desc", "Block job 'j' not found"}}));
  }
  EXPECT_EQ(client->ErrorClass("block-job-set-speed", {{"device", "j"}, {"speed", -1}}),
            "DeviceNotActive");
}

// A dry run is nothing that QEMU has; a job of somebody else is, and stays until it is dismissed.
TEST_F(JobCommandsTest, JobsOfOthersAreListedAndNotTouched) {
  const auto client = Connect();
  ASSERT_TRUE(Order("vm", "stream", "id=dry,dry-run=yes"));
  ASSERT_TRUE(Order("vm", "stream", "id=mine"));
  WaitConcluded("vm", "mine");
  WaitConcluded("vm", "dry");
  const json jobs = client->Return("query-jobs");
  ASSERT_EQ(jobs.size(), 1U) << jobs;
  EXPECT_EQ(jobs[0]["id"], "mine");
  EXPECT_EQ(client->Error("job-pause", {{"id", "dry"}}), "Job not found");
  EXPECT_EQ(client->Error("block-stream", {{"device", "vm"}, {"job-id", "mine"}}),
            "Job ID 'mine' already in use");
}

}  // namespace
}  // namespace chainfs::qmp
