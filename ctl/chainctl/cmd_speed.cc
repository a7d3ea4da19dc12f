// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_speed.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "ctl/chainctl/job_target.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

// CLI11 would call the two words "LIMIT(1x)".
class SpeedHelp : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
    return "Usage: chainctl speed [OPTIONS] DISK [ID] LIMIT\n";
  }
};

struct SpeedOptions {
  std::string disk;
  std::vector<std::string> words;  // [ID] LIMIT
};

Result<ExitCode> Speed(const SpeedOptions& options, const CommonOptions& common) {
  const verbs::Verb& command = CommandOf("speed");
  CHAINFS_ASSIGN(verbs::Arguments arguments,
                 AsSent(verbs::Arguments().Set("limit", options.words.back()), command.keys));
  JobOptions job{.disk = options.disk, .id = {}};
  if (options.words.size() == 2) job.id = options.words.front();
  CHAINFS_ASSIGN(const JobTarget target, FindJob(job));
  arguments.Set("id", target.id);
  CHAINFS_TRY(
      Send(target.disk, {.verb = "speed", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const std::optional<uint64_t> limit, arguments.Size("limit"));
  return ReportVerb(target, limit == 0U ? "has no limit" : "limited to " + FormatRate(*limit),
                    common);
}

}  // namespace

VerbRow SpeedVerb() {
  return {.name = "speed",
          .help = CommandOf("speed").help,
          .examples =
              "chainctl speed vm1.raw 50M\n"
              "chainctl speed vm1.raw nightly 0\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<SpeedOptions>();
            AddDisk(verb, options->disk);
            verb.formatter(std::make_shared<SpeedHelp>());
            verb.add_option("LIMIT", options->words,
                            std::string(verbs::FindKey(CommandOf("speed").keys, "limit")->help))
                ->type_name("[ID] LIMIT")
                ->required()
                ->expected(1, 2);
            return [options](const CommonOptions& common) { return Speed(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
