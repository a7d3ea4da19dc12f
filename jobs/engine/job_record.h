// SPDX-License-Identifier: Apache-2.0
//
// JobRecord: what must be known of a job to take it up again in another process. One small text
// file a job, "job-ID" beside the images: a line `key=value` for each fact, readable by a person.
// '%', line feed and carriage return in values are written %25, %0A and %0D.
//
// The phase is for people: a stream that is taken up walks all of the layer again, whatever the
// phase was, because its allocation map is the true record of progress.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"
#include "jobs/engine/job.h"

namespace chainfs::jobs {

inline constexpr std::string_view kJobRecordPrefix = "job-";

struct JobRecord {
  std::string id;
  std::string type;  // "stream"
  std::string disk;
  std::string top;                  // path
  std::optional<std::string> base;  // path
  uint64_t speed = 0;
  OnError on_error = OnError::kReport;
  RemoveLayers remove = RemoveLayers::kNo;
  bool pivoting = false;  // phase=pivot, else phase=copy
  bool paused = false;
  uint64_t progress = 0;  // bytes; where the next daemon's figure begins, not where its walk does
  bool operator==(const JobRecord&) const = default;
};

std::string JobRecordName(std::string_view id);
std::string FormatJobRecord(const JobRecord& record);
// kInvalidFormat naming what is missing or malformed; kUnsupported for another version.
Result<JobRecord> ParseJobRecord(std::string_view text);

}  // namespace chainfs::jobs
