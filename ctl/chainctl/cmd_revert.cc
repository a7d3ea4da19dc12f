// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_revert.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

struct RevertOptions {
  std::string disk;
  verbs::Arguments arguments;
};

// The layers above `layer`, which a revert drops; top first.
Result<std::vector<std::string>> LayersAbove(const DiskPath& disk, const std::string& layer) {
  CHAINFS_ASSIGN(const json chain, ReadJsonAttribute(disk.path, "chain"));
  std::vector<std::string> above;
  for (const json& entry : chain) {
    std::string path = TextOf(entry, "filename");
    if (path == layer || BaseName(path) == layer) return above;
    above.push_back(std::move(path));
  }
  return FailMounted(ENOENT, fmt::format("{}: no layer of this disk is called {}; `chainctl chain "
                                         "{}` shows them",
                                         disk.shown, layer, disk.shown));
}

bool Agreed(const DiskPath& disk, const std::vector<std::string>& dropped) {
  fmt::print(stderr, "{}: what was written since is lost; these layers are dropped:\n", disk.shown);
  for (const std::string& path : dropped) fmt::print(stderr, "  {}\n", SafeText(path));
  fmt::print(stderr, "Go on? [y/N] ");
  std::fflush(stderr);
  std::array<char, 64> line = {};
  if (std::fgets(line.data(), static_cast<int>(line.size()), stdin) == nullptr) return false;
  const std::string answer = line.data();
  return answer == "y\n" || answer == "Y\n" || answer == "yes\n";
}

Result<ExitCode> Revert(const RevertOptions& options, const CommonOptions& common) {
  const std::string layer = options.arguments.Text("to").value_or("");
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const std::vector<std::string> dropped, LayersAbove(disk, layer));
  if (dropped.empty()) {
    return FailMounted(EINVAL,
                       fmt::format("{}: {} is the active layer already", disk.shown, layer));
  }
  CHAINFS_ASSIGN(const json before, ReadJsonAttribute(disk.path, "info"));
  if (!options.arguments.Has("yes")) {
    if (isatty(STDIN_FILENO) != 1) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("{}: a revert drops {} of the disk for good; confirm with --yes", disk.shown,
                      dropped.size() == 1 ? std::string("the newest layer")
                                          : fmt::format("{} layers", dropped.size())));
    }
    if (!Agreed(disk, dropped)) {
      Note("revert: nothing was done");
      return ExitCode::kCancelled;
    }
  }
  // The generation: nobody agreed to drop a layer that has come meanwhile.
  verbs::Arguments arguments = options.arguments;
  arguments.Set("yes", "yes").Set("generation", std::to_string(NumberOf(before, "generation")));
  CHAINFS_TRY(
      Send(disk, {.verb = "revert", .value = arguments.Format(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")},
                   {"active", TextOf(after, "active")},
                   {"dropped", dropped},
                   {"generation", NumberOf(after, "generation")}}) +
          "\n");
  } else if (!common.quiet) {
    Print(
        fmt::format("{}: active layer is now {}\n", disk.shown, SafeText(TextOf(after, "active"))));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow RevertVerb() {
  return {.name = "revert",
          .help = CommandOf("revert").help,
          .examples =
              "chainctl revert vm1.raw vm1.qcow2\n"
              "chainctl revert --yes vm1.raw vm1.qcow2\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<RevertOptions>();
            const verbs::Verb& command = CommandOf("revert");
            AddDisk(verb, options->disk);
            AddKeyOption(verb, *verbs::FindKey(command.keys, "to"), options->arguments, "LAYER")
                ->required();
            AddKeyOption(verb, *verbs::FindKey(command.keys, "yes"), options->arguments,
                         "-y,--yes");
            return [options](const CommonOptions& common) { return Revert(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
