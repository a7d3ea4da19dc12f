// SPDX-License-Identifier: Apache-2.0
//
// JobReport: what the daemon says of one job at one moment (the JSON of user.chainfs.job.ID).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "ctl/client.h"
#include "ctl/exit_code.h"

namespace chainfs {

struct JobReport {
  std::string id;
  std::string type;
  std::string disk;
  std::string status;
  uint64_t current = 0;  // bytes
  uint64_t total = 0;    // bytes
  uint64_t speed = 0;    // limit, bytes a second; 0: none
  uint64_t rate = 0;     // measured, bytes a second
  std::optional<uint64_t> eta;
  bool cancelled = false;
  std::optional<std::string> error;
  std::string raw;  // the daemon's JSON, one line

  bool concluded() const { return status == "concluded"; }
  // 0 to 100; 100 only when all is done.
  double percent() const;
};

JobReport JobFromJson(const nlohmann::json& object);

// The job `id` of the disk, or its newest when `id` is empty. kNoSuchJob.
Result<JobReport> ReadJob(const DiskPath& disk, const std::string& id);

// kDone, kFailed or kCancelled for a concluded job; kStillRunning for any other.
ExitCode ExitCodeOf(const JobReport& job);

}  // namespace chainfs
