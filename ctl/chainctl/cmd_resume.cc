// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_resume.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"

namespace chainfs::chainctl {
namespace {

Result<ExitCode> Resume(const JobOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const JobTarget target, FindJob(options));
  CHAINFS_TRY(SendToJob(target, "resume", common));
  return ReportVerb(target, "resumed", common);
}

}  // namespace

VerbRow ResumeVerb() {
  return {.name = "resume",
          .help = CommandOf("resume").help,
          .examples = "chainctl resume vm1.raw\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<JobOptions>();
            AddJob(verb, "resume", *options);
            return [options](const CommonOptions& common) { return Resume(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
