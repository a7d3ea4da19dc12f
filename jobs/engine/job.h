// SPDX-License-Identifier: Apache-2.0
//
// Job: vocabulary of background work, the same as QEMU's (qapi/job.json), so that people and
// programs who know one know the other. The two tables say which state may follow which, and which
// verb is legal when. Nothing here does work or locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::jobs {

enum class JobStatus : uint8_t {
  kUndefined,
  kCreated,
  kRunning,
  kPaused,
  kReady,
  kStandby,
  kWaiting,
  kPending,
  kAborting,
  kConcluded,
  kNull,
};
enum class JobVerb : uint8_t {
  kCancel,
  kPause,
  kResume,
  kSetSpeed,
  kComplete,
  kFinalize,
  kDismiss
};

std::string_view JobStatusName(JobStatus status);  // "running"
std::string_view JobVerbName(JobVerb verb);        // "set-speed"
bool JobTransitionAllowed(JobStatus from, JobStatus to);
bool JobVerbAllowed(JobVerb verb, JobStatus status);
// kInvalidArgument with a sentence about the job `id`, unless the above holds.
Status CheckJobVerb(std::string_view id, JobVerb verb, JobStatus status);

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
  bool cancelled = false;
  bool dry_run = false;  // only an estimate; its total is known once it has concluded
  // QEMU's words for why it stands still: "ok"; after an error of a chunk, until resume, "nospace"
  // or "failed".
  std::string_view io_status = "ok";
  // Why it failed, was cancelled, or stands still (io_status, or status waiting for its disk).
  std::optional<std::string> error;
  std::optional<std::string> warning;  // something to look after before it fails
  // Of the layers that it left out (a dry run: would leave out): paths of those that nobody needs
  // any more and that are there, and of those that it removed.
  std::vector<std::string> unneeded;
  std::vector<std::string> removed;
  std::chrono::system_clock::time_point started;
  std::optional<std::chrono::system_clock::time_point> ended;
  uint64_t sequence = 0;  // order of creation
};

enum class OnError : uint8_t {
  kReport,  // the job ends at once
  kIgnore,  // goes on; ends with an error, the chain as it was
  kStop,    // pauses; resume tries the same chunk again
  kEnospc,  // kStop for lack of space, else kReport
};

// What becomes of the layers that a stream leaves out and that nobody needs any more.
enum class RemoveLayers : uint8_t {
  kNo,
  kInSources,  // removed where they lie beneath the source directories
  kAnywhere,   // removed (root's word)
};

struct StreamRequest {
  std::string disk = {};
  std::string id = {};                   // empty: "stream-N"
  std::optional<std::string> top = {};   // default: the active layer
  std::optional<std::string> base = {};  // default: none, everything below is merged
  uint64_t speed = 0;                    // bytes per second; 0: no limit
  OnError on_error = OnError::kReport;
  RemoveLayers remove = RemoveLayers::kNo;
  std::optional<uint64_t> generation = {};  // refused with kStale when the chain has another
  bool dry_run = false;  // only the estimate, as a concluded job of type "stream" with total set
};

}  // namespace chainfs::jobs
