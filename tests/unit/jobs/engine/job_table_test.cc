// SPDX-License-Identifier: Apache-2.0
//
// The two tables of job states and the vocabulary, every cell against QEMU's.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "blocklayer/base/timestamp.h"
#include "jobs/engine/job.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::jobs {
namespace {

constexpr std::array kStatuses = {JobStatus::kUndefined, JobStatus::kCreated, JobStatus::kRunning,
                                  JobStatus::kPaused,    JobStatus::kReady,   JobStatus::kStandby,
                                  JobStatus::kWaiting,   JobStatus::kPending, JobStatus::kAborting,
                                  JobStatus::kConcluded, JobStatus::kNull};
constexpr std::array kVerbs = {JobVerb::kCancel,   JobVerb::kPause,    JobVerb::kResume,
                               JobVerb::kSetSpeed, JobVerb::kComplete, JobVerb::kFinalize,
                               JobVerb::kDismiss,  JobVerb::kChange};

using Names = std::map<std::string_view, std::set<std::string_view>>;

TEST(JobTables, EveryTransitionIsAsInQemu) {
  const Names allowed = {
      {"undefined", {"created"}},
      {"created", {"running", "aborting", "null"}},
      {"running", {"paused", "ready", "waiting", "aborting"}},
      {"paused", {"running"}},
      {"ready", {"standby", "waiting", "aborting"}},
      {"standby", {"ready"}},
      {"waiting", {"pending", "aborting"}},
      {"pending", {"aborting", "concluded"}},
      {"aborting", {"aborting", "concluded"}},
      {"concluded", {"null"}},
      {"null", {}},
  };
  for (const JobStatus from : kStatuses) {
    for (const JobStatus to : kStatuses) {
      EXPECT_EQ(JobTransitionAllowed(from, to),
                allowed.at(JobStatusName(from)).contains(JobStatusName(to)))
          << JobStatusName(from) << " -> " << JobStatusName(to);
    }
  }
}

TEST(JobTables, EveryVerbIsLegalWhereQemuSays) {
  const std::set<std::string_view> alive = {"created", "running", "paused", "ready", "standby"};
  std::set<std::string_view> cancellable = alive;
  cancellable.insert({"waiting", "pending"});
  const Names legal = {
      {"cancel", cancellable},
      {"pause", alive},
      {"resume", alive},
      {"set-speed", alive},
      {"complete", {"ready", "standby"}},
      {"finalize", {"pending"}},
      {"dismiss", {"concluded"}},
      {"change", alive},
  };
  for (const JobVerb verb : kVerbs) {
    for (const JobStatus status : kStatuses) {
      EXPECT_EQ(JobVerbAllowed(verb, status),
                legal.at(JobVerbName(verb)).contains(JobStatusName(status)))
          << JobVerbName(verb) << " in " << JobStatusName(status);
    }
  }
}

TEST(JobJson, NamesKeysAsQemuAndLeavesOutWhatIsUnknown) {
  JobInfo job;
  job.id = "s1";
  job.type = "stream";
  job.disk = "vm\"1";
  job.status = JobStatus::kRunning;
  job.current_progress = 5;
  job.total_progress = 10;
  job.copied = 4;
  const auto json = nlohmann::json::parse(JobToJson(job));
  EXPECT_EQ(json["disk"], "vm\"1");
  EXPECT_EQ(json["status"], "running");
  EXPECT_EQ(json["current-progress"], 5);
  EXPECT_EQ(json["total-progress"], 10);
  EXPECT_EQ(json["copied"], 4);
  EXPECT_EQ(json["started"], "1970-01-01T00:00:00.000000Z");
  for (const char* key : {"eta", "cancelled", "error", "ended"}) EXPECT_FALSE(json.contains(key));
}

TEST(JobJson, ShowsHowItEnded) {
  JobInfo job;
  job.cancelled = true;
  job.error = "cancelled";
  job.eta_seconds = 3;
  job.ended = std::chrono::system_clock::time_point(std::chrono::microseconds(1));
  const std::string text = JobToJson(job);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["cancelled"], true);
  EXPECT_EQ(json["error"], "cancelled");
  EXPECT_EQ(json["eta"], 3);
  EXPECT_EQ(json["ended"], "1970-01-01T00:00:00.000001Z");
}

TEST(Timestamp, KnowsLeapDaysAndRoundsDown) {
  using std::chrono::sys_days;
  using namespace std::chrono_literals;
  const auto time = sys_days(2024y / 2 / 29) + 23h + 59min + 58s + 999999us;
  EXPECT_EQ(FormatUtc(time), "2024-02-29T23:59:58.999999Z");
}

}  // namespace
}  // namespace chainfs::jobs
