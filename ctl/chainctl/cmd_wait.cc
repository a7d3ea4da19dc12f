// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_wait.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

struct WaitVerbOptions {
  JobOptions job;
  WaitingOptions waiting;
};

Result<ExitCode> Wait(const WaitVerbOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckTypedId(options.job.id));
  CHAINFS_ASSIGN(const DiskPath disk, FindJobPlace(options.job));
  std::optional<std::string> id = options.job.id;
  if (!id) {
    CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
    if (const std::optional<JobReport> job = NewestUnfinished(jobs)) {
      id = job->id;
    } else if (const std::optional<JobReport> last = LastFinished(jobs)) {
      if (!common.quiet) Note(fmt::format("wait: no unfinished job on {}", disk.shown));
      return ReportEnd("wait", disk, *last, common);
    } else {
      return FailNoJob(disk, jobs);
    }
  }
  WaitSignals signals;
  return WaitAndReport("wait", disk, *id, signals, OnInterrupt::kDetach, options.waiting, common);
}

}  // namespace

VerbRow WaitVerb() {
  return {.name = "wait",
          .help = "Wait for a job; Ctrl-C only stops watching (exit 4)",
          .examples =
              "chainctl wait vm1.raw\n"
              "chainctl wait vm1.raw nightly --timeout 3600\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<WaitVerbOptions>();
            AddJob(verb, "cancel", options->job);
            AddWaiting(verb, options->waiting);
            return [options](const CommonOptions& common) { return Wait(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
