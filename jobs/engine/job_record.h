// SPDX-License-Identifier: Apache-2.0
//
// JobRecord: what must be known of a job to take it up again in another process: its type and its
// command, so that taking it up is planning it again. One small JSON file per job, "job-ID" beside
// the images; its text is in README.md. Strings are percent-escaped (percent_text.h), so they need
// no escapes of JSON's, whatever bytes a path has; the catalog relies on that when it looks for the
// layers that a record names.
//
// Version 1, a line `key=value` per fact (streams only), is read too.
//
// The phases "copy" and "pivot" are for people: a job that is taken up walks all of its work again.
// One of phase "undo" is only undone.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "ctl/verbs/arguments.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

struct JobRecord {
  std::string id;
  std::string type;  // "stream"
  std::string disk;
  verbs::Arguments command = {};  // on-error and the keys of the type
  bool privileged = false;        // who gave the command may have any file written or removed
  JobParameters parameters = {};  // as they were last
  bool pivoting = false;          // phase "pivot", else "copy"
  // It is to start once that group has happened (blocklayer/catalog/group_record.h); empty: alone.
  std::string group = {};
  // Phase "undo", and why it failed; empty: it was cancelled.
  std::optional<std::string> undo = {};
  bool operator==(const JobRecord&) const = default;
};

std::string JobRecordName(std::string_view id);
std::string FormatJobRecord(const JobRecord& record);
// kInvalidFormat naming what is missing or malformed; kUnsupported for another version.
Result<JobRecord> ParseJobRecord(std::string_view text);

}  // namespace chainfs::jobs
