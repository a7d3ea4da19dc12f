// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_flush.h"

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

Result<ExitCode> Flush(const std::string& path, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(path));
  CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(Send(disk, {.verb = "flush", .value = "", .verbose = common.verbose}));
  if (common.json) {
    Print(OneLine({{"disk", disk.path}, {"flushed", true}}) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: all cached data and metadata is in the images\n", disk.shown));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow FlushVerb() {
  return {.name = "flush",
          .help = CommandOf("flush").help,
          .examples = "chainctl flush vm1.raw\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto disk = std::make_shared<std::string>();
            AddDisk(verb, *disk);
            return [disk](const CommonOptions& common) { return Flush(*disk, common); };
          }};
}

}  // namespace chainfs::chainctl
