// SPDX-License-Identifier: Apache-2.0
//
// JobInfo: what users see of a job.
//
// Threads: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/engine/job.h"
#include "jobs/engine/job_facts.h"

namespace chainfs::jobs {

// A job as it was at one moment.
struct JobInfo {
  std::string id;
  std::string type;  // "stream"
  std::string disk;  // the chain's name
  JobStatus status = JobStatus::kCreated;
  uint64_t current_progress = 0;  // bytes; never goes backwards, never passes total
  uint64_t total_progress = 0;    // bytes
  uint64_t copied = 0;  // bytes moved since this daemon took it up; the rest needed nothing
  uint64_t speed = 0;   // limit, bytes per second; 0: none
  uint64_t rate = 0;    // measured, bytes per second
  std::optional<uint64_t> eta_seconds;
  std::string_view priority = "normal";
  bool cancelled = false;
  bool dry_run = false;  // only an estimate; its total is known once it has concluded
  // QEMU's words for why it stands still: "ok"; after an error of a chunk, until resume, "nospace"
  // or "failed".
  std::string_view io_status = "ok";
  // Why it failed, was cancelled, or stands still (io_status; or status waiting for its disk; or
  // paused at its end, which comes by itself).
  std::optional<std::string> error;
  std::optional<std::string> warning;  // something to look after before it fails
  // Of the layers that it left out (a dry run: would leave out): paths of those that nobody needs
  // any more and that are there, and of those that it removed.
  std::vector<std::string> unneeded;
  std::vector<std::string> removed;
  JobFacts facts = {};  // of its type only
  std::chrono::system_clock::time_point started;
  std::optional<std::chrono::system_clock::time_point> ended;
  uint64_t sequence = 0;  // order of creation
};

// {"id":...,"type":...}: keys named as in QEMU; one line.
std::string JobToJson(const JobInfo& job);

}  // namespace chainfs::jobs
