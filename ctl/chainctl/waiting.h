// SPDX-License-Identifier: Apache-2.0
//
// What the verbs that wait for a job have in common: the wait itself, the last line, the exit code.
#pragma once

#include "ctl/chainctl/commands.h"
#include "ctl/chainctl/job_waiter.h"

namespace chainfs::chainctl {

// Waits for `id` and reports it: JSON of the job on stdout with --json, else one line (a failure
// goes to stderr).
Result<ExitCode> WaitAndReport(const std::string& verb, const DiskPath& disk, const std::string& id,
                               WaitSignals& signals, OnInterrupt on_interrupt,
                               const WaitingOptions& waiting, const CommonOptions& common);
// The last line and the exit code of a job that has concluded.
ExitCode ReportEnd(const std::string& verb, const DiskPath& disk, const JobReport& job,
                   const CommonOptions& common);

// kInvalidArgument unless it can be a job id.
Status CheckJobId(const std::optional<std::string>& id);
// kInvalidArgument unless `limit` is a size; a canonical number of bytes.
Result<std::optional<std::string>> SpeedInBytes(const std::optional<std::string>& limit);

}  // namespace chainfs::chainctl
