// SPDX-License-Identifier: Apache-2.0
//
// What the verbs that wait for a job have in common: the wait itself, the last line, the exit code.
#pragma once

#include <optional>
#include <string>

#include "ctl/chainctl/job_waiter.h"
#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

struct WaitingOptions {
  bool background = false;
  std::optional<double> timeout;   // seconds
  std::optional<int> progress_fd;  // N/100 lines
};

// `background`: what -b means to the verb; empty: it has none.
void AddWaiting(CLI::App& verb, WaitingOptions& waiting, const std::string& background = "");

// Waits for `id` and reports it: JSON of the job on stdout with --json, else one line (a failure
// goes to stderr). Who started the job (kCancelJob) also has what he wants when it is ready.
Result<ExitCode> WaitAndReport(const std::string& verb, const DiskPath& disk, const std::string& id,
                               WaitSignals& signals, OnInterrupt on_interrupt,
                               const WaitingOptions& waiting, const CommonOptions& common);
// The last line and the exit code of a job that has concluded.
ExitCode ReportEnd(const std::string& verb, const DiskPath& disk, const JobReport& job,
                   const CommonOptions& common);

}  // namespace chainfs::chainctl
