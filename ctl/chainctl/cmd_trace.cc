// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_trace.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

struct TraceOptions {
  std::string disk;
  verbs::Arguments arguments;
};

Result<ExitCode> Trace(const TraceOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments,
                 AsSent(options.arguments, CommandOf("trace").keys));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_TRY(
      Send(disk, {.verb = "trace", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  const std::string file = TextOf(after, "trace");
  if (common.json) {
    json line = {{"disk", TextOf(after, "name")}};
    if (!file.empty()) line["trace"] = file;
    Print(OneLine(line) + "\n");
  } else if (!common.quiet && file.empty()) {
    Print(fmt::format("{}: recorded\n", disk.shown));
  } else if (!common.quiet) {
    Print(fmt::format("{}: what is read goes to {} when you say --stop\n", disk.shown, file));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow TraceVerb() {
  return {.name = "trace",
          .help = CommandOf("trace").help,
          .examples =
              "chainctl trace vm1.raw --file /images/vm1.trace\n"
              "chainctl trace vm1.raw --stop\n"
              "chainctl stream vm1.raw --trace /images/vm1.trace\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<TraceOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(verb, CommandOf("trace"), {"generation", "dry-run"}, options->arguments);
            return [options](const CommonOptions& common) { return Trace(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
