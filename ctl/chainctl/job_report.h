// SPDX-License-Identifier: Apache-2.0
//
// JobReport: what the daemon says of one job at one moment (the JSON of user.chainfs.job.ID).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/exit_code.h"

namespace chainfs::chainctl {

struct JobReport {
  std::string id;
  std::string type;
  std::string disk;
  std::string status;
  uint64_t current = 0;  // bytes
  uint64_t total = 0;    // bytes
  uint64_t speed = 0;    // limit, bytes per second; 0: none
  uint64_t rate = 0;     // measured, bytes per second
  std::optional<uint64_t> eta;
  std::optional<uint64_t> space_needed;  // bytes; of an estimate
  std::optional<uint64_t> estimated_ms;  // milliseconds; the same
  std::optional<uint64_t> copied;  // bytes that were moved; the rest was found to need nothing
  bool cancelled = false;
  bool dry_run = false;   // an estimate: total is the figure, nothing was done
  std::string io_status;  // "ok", "nospace", "failed", as QEMU has it; empty: not told
  std::optional<std::string> error;
  std::string ended;                  // RFC 3339 UTC; empty while it runs
  std::vector<std::string> unneeded;  // paths of layers that were left out and nobody needs
  std::vector<std::string> removed;   // and of those that the daemon has deleted
  std::string warning;
  std::string raw;  // the daemon's JSON, one line

  bool concluded() const { return status == "concluded"; }
  // Only its record is there: it begins when its disk can be used (`error` says what it waits for).
  bool waits_to_be_taken_up() const { return status == "waiting" && error.has_value(); }
  // It waits for somebody to mend what went wrong, and to resume it.
  bool paused_by_error() const;
  // 0 to 100; 100 only when all is done.
  double percent() const;
};

JobReport JobFromJson(const nlohmann::json& object);

// The jobs of a mount: all of them from the file, or what fits into the attribute where the file is
// not readable for the caller.
Result<nlohmann::json> JobsOfMount(const std::string& mount);
// The job `id` of the disk, or, where `disk` is the mount point, of any. ESRCH.
Result<JobReport> ReadJob(const DiskPath& disk, const std::string& id);
// All jobs of the disk that the daemon remembers, newest first, estimates left out.
Result<std::vector<JobReport>> ReadJobs(const DiskPath& disk);
// The newest of them that has not finished.
std::optional<JobReport> NewestUnfinished(const std::vector<JobReport>& jobs);

// The one that finished last: what a wait that began earlier would have ended with.
std::optional<JobReport> LastFinished(const std::vector<JobReport>& jobs);

// "done: 45 MiB copied, 600 MiB scanned".
std::string DoneText(const JobReport& job);
// For a job that is paused_by_error or waits_to_be_taken_up: why, and what to do, with `disk` as
// the user wrote it.
std::string AdviceFor(const JobReport& job, const std::string& disk);

// kDone, kFailed or kCancelled for a concluded job; kStillRunning for any other.
ExitCode ExitCodeOf(const JobReport& job);

}  // namespace chainfs::chainctl
