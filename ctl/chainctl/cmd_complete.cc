// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_complete.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {
namespace {

struct CompleteOptions {
  JobOptions job;
  verbs::Arguments arguments;
};

Result<ExitCode> Complete(const CompleteOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(verbs::Arguments arguments, AsSent(options.arguments, CommandOf("complete").keys));
  CHAINFS_ASSIGN(const JobTarget target, FindJob(options.job));
  arguments.Set("id", target.id);
  CHAINFS_TRY(Send(target.disk,
                   {.verb = "complete", .value = arguments.Format(), .verbose = common.verbose}));
  return ReportVerb(target, "is completing", common);
}

}  // namespace

VerbRow CompleteVerb() {
  return {.name = "complete",
          .help = CommandOf("complete").help,
          .examples =
              "chainctl complete vm1.raw\n"
              "chainctl complete vm1.raw copy --then pivot\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<CompleteOptions>();
            AddJob(verb, "complete", options->job);
            AddKeyOptions(verb, CommandOf("complete"), {"id", "generation", "dry-run"},
                          options->arguments);
            return [options](const CommonOptions& common) { return Complete(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
