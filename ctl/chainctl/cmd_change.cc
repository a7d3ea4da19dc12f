// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_change.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {
namespace {

struct ChangeOptions {
  JobOptions job;
  verbs::Arguments arguments;
};

Result<ExitCode> Change(const ChangeOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(verbs::Arguments arguments, AsSent(options.arguments, CommandOf("change").keys));
  CHAINFS_ASSIGN(const JobTarget target, FindJob(options.job));
  arguments.Set("id", target.id);
  CHAINFS_TRY(Send(target.disk,
                   {.verb = "change", .value = arguments.Format(), .verbose = common.verbose}));
  return ReportVerb(target, "changed", common);
}

}  // namespace

VerbRow ChangeVerb() {
  return {.name = "change",
          .help = CommandOf("change").help,
          .examples = "chainctl change vm1.raw --copy-mode write-blocking\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<ChangeOptions>();
            AddJob(verb, "change", options->job);
            AddKeyOptions(verb, CommandOf("change"), {"id", "generation", "dry-run"},
                          options->arguments);
            return [options](const CommonOptions& common) { return Change(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
