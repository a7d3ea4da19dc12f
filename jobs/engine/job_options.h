// SPDX-License-Identifier: Apache-2.0
//
// JobOptions: the keys that every type of job takes, and what they mean: id, speed, on-error,
// priority, generation, dry-run.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ctl/verbs/arguments.h"
#include "jobs/engine/on_error.h"

namespace chainfs::jobs {

// How much of the arena a job gets beside others.
enum class Priority : uint8_t {
  kLow,  // one lane; rests as long as it works while users of the disk wait
  kNormal,
  kHigh,  // several chunks to one of the others; first to get a place to run
};
std::string_view PriorityName(Priority priority);  // "normal"

struct JobOptions {
  std::string id = {};  // empty: "TYPE-N"
  uint64_t speed = 0;   // bytes per second; 0: no limit
  OnError on_error = OnError::kReport;
  Priority priority = Priority::kNormal;
  std::optional<uint64_t> generation = {};  // refused with kStale when the chain has another
  bool dry_run = false;  // only the estimate, as a concluded job with its total set
};

// kInvalidArgument, unless a new job may be called so.
Status CheckNewJobId(std::string_view id);
// kInvalidArgument naming the key. Nothing: it is not there.
Result<std::optional<Priority>> PriorityIn(const verbs::Arguments& arguments);
// kInvalidArgument naming the key.
Result<JobOptions> ParseJobOptions(const verbs::Arguments& arguments);

}  // namespace chainfs::jobs
