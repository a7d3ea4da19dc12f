// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_cancel.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

struct CancelOptions {
  JobOptions job;
  WaitingOptions waiting;
};

Result<ExitCode> Cancel(const CancelOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const JobTarget target, FindJob(options.job));
  CHAINFS_TRY(SendToJob(target, "cancel", common));
  if (options.waiting.background) return ReportVerb(target, "is stopping", common);
  WaitSignals signals;
  const Result<WaitOutcome> waited =
      WaitForJob(target.disk, target.id, signals,
                 {.timeout = options.waiting.timeout,
                  .on_interrupt = OnInterrupt::kDetach,
                  .progress = {.quiet = common.quiet, .percent_fd = options.waiting.progress_fd}});
  // One that had only waited to be taken up leaves nothing behind.
  if (!waited && waited.error().sys_errno == ESRCH) return ReportVerb(target, "cancelled", common);
  CHAINFS_TRY(waited);
  const WaitOutcome& outcome = *waited;
  if (outcome.end != WaitEnd::kConcluded) {
    Note(fmt::format("cancel: {}: {} is still {}", target.disk.shown, target.id,
                     outcome.job.status));
    return ExitCode::kStillRunning;
  }
  // That it was cancelled is success here.
  return ReportVerb(target, outcome.job.cancelled ? "cancelled" : "had already finished", common);
}

}  // namespace

VerbRow CancelVerb() {
  return {.name = "cancel",
          .help = CommandOf("cancel").help,
          .examples =
              "chainctl cancel vm1.raw\n"
              "chainctl cancel vm1.raw nightly -b\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<CancelOptions>();
            AddJob(verb, "cancel", options->job);
            AddWaiting(verb, options->waiting, "Do not wait until it has stopped");
            return [options](const CommonOptions& common) { return Cancel(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
