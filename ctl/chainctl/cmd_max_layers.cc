// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_max_layers.h"

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

struct MaxLayersOptions {
  std::string disk;
  verbs::Arguments arguments;
};

Result<ExitCode> MaxLayers(const MaxLayersOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments,
                 AsSent(options.arguments, CommandOf("max-layers").keys));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_TRY(
      Send(disk, {.verb = "max-layers", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  const uint64_t most = MaybeNumberOf(after, "max-layers").value_or(0);
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")}, {"max-layers", most}}) + "\n");
  } else if (!common.quiet && most == 0) {
    Print(fmt::format("{}: no limit\n", disk.shown));
  } else if (!common.quiet) {
    Print(fmt::format("{}: kept at {} layer{}, has {}\n", disk.shown, most, most == 1 ? "" : "s",
                      MaybeNumberOf(after, "depth").value_or(0)));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow MaxLayersVerb() {
  return {.name = "max-layers",
          .help = CommandOf("max-layers").help,
          .examples =
              "chainctl max-layers vm1.raw --layers 8\n"
              "chainctl max-layers vm1.raw --layers 0\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<MaxLayersOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(verb, CommandOf("max-layers"), {"generation", "dry-run"},
                          options->arguments);
            return [options](const CommonOptions& common) { return MaxLayers(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
