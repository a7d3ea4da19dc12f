// SPDX-License-Identifier: Apache-2.0
//
// The job that a verb is meant for. A verb without ID looks once which job is the newest that has
// not finished (dismiss: that has), and then names it, so that a job started meanwhile is not hit
// by mistake.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

// As it was typed.
struct JobOptions {
  std::string disk;
  std::optional<std::string> id;
};

struct JobTarget {
  DiskPath disk;
  std::string id;
};

// DISK [ID]; which job is meant without ID is said from the table of verbs.
void AddJob(CLI::App& verb, std::string_view command, JobOptions& options);

// The disk; or the mount point, which takes the verbs of a job that ID names: its disk need not be
// shown.
Result<DiskPath> FindJobPlace(const JobOptions& options);
Result<JobTarget> FindJob(const JobOptions& options);
Result<JobTarget> FindFinishedJob(const JobOptions& options);
std::unexpected<Error> FailNoJob(const DiskPath& disk, const std::vector<JobReport>& jobs);

// Sends `command` with the job's id.
Status SendToJob(const JobTarget& target, const std::string& command, const CommonOptions& common);
// After a verb that takes effect at once: what the job looks like now.
ExitCode ReportVerb(const JobTarget& target, const std::string& done, const CommonOptions& common);
// kInvalidArgument unless it can be a job id.
Status CheckTypedId(const std::optional<std::string>& id);

}  // namespace chainfs::chainctl
