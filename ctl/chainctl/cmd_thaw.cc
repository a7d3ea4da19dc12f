// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_thaw.h"

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

Result<ExitCode> Thaw(const std::string& path, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(path));
  CHAINFS_TRY(Send(disk, {.verb = "thaw", .value = "", .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")}, {"read-only", FlagOf(after, "read-only")}}) +
          "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: can be written\n", disk.shown));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow ThawVerb() {
  return {.name = "thaw",
          .help = CommandOf("thaw").help,
          .examples = "chainctl thaw mid.raw\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto disk = std::make_shared<std::string>();
            AddDisk(verb, *disk);
            return [disk](const CommonOptions& common) { return Thaw(*disk, common); };
          }};
}

}  // namespace chainfs::chainctl
