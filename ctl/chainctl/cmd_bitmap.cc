// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_bitmap.h"

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

struct BitmapOptions {
  std::string disk;
  verbs::Arguments arguments;
};

Result<ExitCode> Bitmap(const BitmapOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments,
                 AsSent(options.arguments, CommandOf("bitmap").keys));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  // What the page cache holds was written before.
  CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(
      Send(disk, {.verb = "bitmap", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  const auto found = after.find("bitmaps");
  const json bitmaps = found == after.end() ? json::array() : *found;
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")}, {"bitmaps", bitmaps}}) + "\n");
  } else if (!common.quiet && arguments.Has("dry-run")) {
    Print(fmt::format("{}: could be done\n", disk.shown));
  } else if (!common.quiet) {
    Print(fmt::format("{}: {} bitmap{} now\n", disk.shown, bitmaps.size(),
                      bitmaps.size() == 1 ? "" : "s"));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow BitmapVerb() {
  return {.name = "bitmap",
          .help = CommandOf("bitmap").help,
          .examples =
              "chainctl bitmap vm1.raw --add since-monday\n"
              "chainctl bitmap vm1.raw --remove since-monday\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<BitmapOptions>();
            AddDisk(verb, options->disk);
            AddKeyOptions(verb, CommandOf("bitmap"), {}, options->arguments);
            return [options](const CommonOptions& common) { return Bitmap(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
