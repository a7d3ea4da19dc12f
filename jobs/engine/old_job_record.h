// SPDX-License-Identifier: Apache-2.0
//
// OldJobRecord: the text of job records before they were JSON: a line `key=value` per fact; '%',
// line feed and carriage return in values are written %25, %0A and %0D. Read only; what it says is
// told as a command of today. All of them are streams.
#pragma once

#include <string_view>

#include "jobs/engine/job_record.h"

namespace chainfs::jobs {

// Whether it is of this kind, which never begins like a JSON object.
bool IsOldJobRecord(std::string_view text);
// kInvalidFormat naming what is missing or malformed; kUnsupported for another version or type.
Result<JobRecord> ParseOldJobRecord(std::string_view text);

}  // namespace chainfs::jobs
