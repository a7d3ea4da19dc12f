// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_pause.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {
namespace {

Result<ExitCode> Pause(const JobOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const JobTarget target, FindJob(options));
  CHAINFS_TRY(SendToJob(target, "pause", common));
  return ReportVerb(target, "paused", common);
}

}  // namespace

VerbRow PauseVerb() {
  return {.name = "pause",
          .help = CommandOf("pause").help,
          .examples = "chainctl pause vm1.raw\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<JobOptions>();
            AddJob(verb, "pause", *options);
            return [options](const CommonOptions& common) { return Pause(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
