// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_resize.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/loop_devices.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

struct ResizeOptions {
  std::string disk;
  verbs::Arguments arguments;
};

Result<ExitCode> Resize(const ResizeOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments,
                 AsSent(options.arguments, CommandOf("resize").keys));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const json before, ReadJsonAttribute(disk.path, "info"));
  // What the page cache holds of the end would be lost unseen.
  CHAINFS_TRY(SyncDisk(disk));
  CHAINFS_TRY(
      Send(disk, {.verb = "resize", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  const bool dry_run = arguments.Has("dry-run");
  const ToldLoops loops = dry_run ? ToldLoops() : TellLoopDevices(disk.path);
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")},
                   {"virtual-size", NumberOf(after, "virtual-size")},
                   {"before", NumberOf(before, "virtual-size")},
                   {"loop-devices", loops.told}}) +
          "\n");
  } else if (!common.quiet && dry_run) {
    Print(fmt::format("{}: could be resized\n", disk.shown));
  } else if (!common.quiet) {
    Print(fmt::format("{}: {}, was {}\n", disk.shown, FormatSize(NumberOf(after, "virtual-size")),
                      FormatSize(NumberOf(before, "virtual-size"))));
    for (const std::string& device : loops.told) {
      Print(fmt::format("{} has the new size, too\n", device));
    }
  }
  for (const std::string& device : loops.missed) {
    Note(fmt::format("{} was not told; as root: losetup -c {}", device, device));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow ResizeVerb() {
  return {.name = "resize",
          .help = CommandOf("resize").help,
          .examples =
              "chainctl resize vm1.raw 40G\n"
              "chainctl resize --shrink vm1.raw 10G\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<ResizeOptions>();
            const verbs::Verb& command = CommandOf("resize");
            AddDisk(verb, options->disk);
            AddKeyOption(verb, *verbs::FindKey(command.keys, "size"), options->arguments, "SIZE")
                ->required();
            AddKeyOptions(verb, command, {"size"}, options->arguments);
            return [options](const CommonOptions& common) { return Resize(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
