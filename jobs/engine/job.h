// SPDX-License-Identifier: Apache-2.0
//
// Job: vocabulary of background work, the same as QEMU's (qapi/job.json), so that people and
// programs who know one know the other. The two tables say which state may follow which, and which
// verb is legal when. Nothing here does work or locks.
#pragma once

#include <cstdint>
#include <string_view>

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
  kDismiss,
  kChange,
};

std::string_view JobStatusName(JobStatus status);  // "running"
std::string_view JobVerbName(JobVerb verb);        // "set-speed"
bool JobTransitionAllowed(JobStatus from, JobStatus to);
bool JobVerbAllowed(JobVerb verb, JobStatus status);
// kInvalidArgument with a sentence about the job `id`, unless the above holds.
Status CheckJobVerb(std::string_view id, JobVerb verb, JobStatus status);

}  // namespace chainfs::jobs
