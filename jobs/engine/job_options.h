// SPDX-License-Identifier: Apache-2.0
//
// JobOptions: the keys that every type of job takes, and what they mean: id, speed, on-error,
// generation, dry-run.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ctl/verbs/arguments.h"

namespace chainfs::jobs {

enum class OnError : uint8_t {
  kReport,  // the job ends at once
  kIgnore,  // goes on; ends with an error, the chain as it was
  kStop,    // pauses; resume tries the same chunk again
  kEnospc,  // kStop for lack of space, else kReport
};
std::string_view OnErrorName(OnError policy);  // "report"

struct JobOptions {
  std::string id = {};  // empty: "TYPE-N"
  uint64_t speed = 0;   // bytes per second; 0: no limit
  OnError on_error = OnError::kReport;
  std::optional<uint64_t> generation = {};  // refused with kStale when the chain has another
  bool dry_run = false;  // only the estimate, as a concluded job with its total set
};

// kInvalidArgument, unless a new job may be called so.
Status CheckNewJobId(std::string_view id);
// kInvalidArgument naming the key.
Result<JobOptions> ParseJobOptions(const verbs::Arguments& arguments);

}  // namespace chainfs::jobs
