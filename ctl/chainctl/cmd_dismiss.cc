// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_dismiss.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {
namespace {

Result<ExitCode> Dismiss(const JobOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const JobTarget target, FindFinishedJob(options));
  CHAINFS_TRY(SendToJob(target, "dismiss", common));
  return ReportVerb(target, "dismissed", common);
}

}  // namespace

VerbRow DismissVerb() {
  return {.name = "dismiss",
          .help = CommandOf("dismiss").help,
          .examples = "chainctl dismiss vm1.raw nightly\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<JobOptions>();
            AddJob(verb, "dismiss", *options);
            return [options](const CommonOptions& common) { return Dismiss(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
