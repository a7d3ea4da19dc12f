// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_transaction.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

struct TransactionOptions {
  std::string mount;
  std::vector<std::string> actions;  // DISK/VERB or DISK/VERB/ARGUMENTS
  bool dry_run = false;
};

// A semicolon of an action is written twice.
std::string JoinActions(const std::vector<std::string>& actions) {
  std::string text;
  for (const std::string& action : actions) {
    if (!text.empty()) text += ';';
    for (const char letter : action) {
      if (letter == ';') text += ';';
      text += letter;
    }
  }
  return text;
}

// The kernel has what programs wrote; it belongs into the layer that is frozen.
Status SyncFrozen(const std::string& mount, const std::vector<std::string>& actions) {
  for (const std::string& action : actions) {
    const size_t slash = action.find('/');
    if (slash == std::string::npos || !action.substr(slash + 1).starts_with("snapshot")) continue;
    // One that is not there is the daemon's to refuse.
    const Result<DiskPath> disk =
        FindDisk(fmt::format("{}/{}.raw", mount, action.substr(0, slash)));
    if (disk) CHAINFS_TRY(SyncDisk(*disk));
  }
  return {};
}

Result<ExitCode> Transaction(const TransactionOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::string mount, FindMount(options.mount));
  if (!options.dry_run) CHAINFS_TRY(SyncFrozen(mount, options.actions));
  verbs::Arguments arguments;
  arguments.Set("actions", JoinActions(options.actions));
  if (options.dry_run) arguments.Set("dry-run", "yes");
  CHAINFS_TRY(
      Send({.path = mount, .mount = mount, .shown = options.mount},
           {.verb = "transaction", .value = arguments.Format(), .verbose = common.verbose}));
  if (common.json) {
    Print(
        OneLine(
            {{"mount", mount}, {"actions", options.actions.size()}, {"dry-run", options.dry_run}}) +
        "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: {} of {} actions {}\n", options.mount, options.actions.size(),
                      options.actions.size(),
                      options.dry_run ? "could be carried out" : "were carried out or begun"));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow TransactionVerb() {
  return {.name = "transaction",
          .help = CommandOf("transaction").help,
          .examples =
              "chainctl transaction /mnt vm1/snapshot vm2/snapshot\n"
              "chainctl transaction /mnt vm1/snapshot vm2/stream/base=base.qcow2\n",
          .sends = true,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<TransactionOptions>();
            verb.add_option("MNT", options->mount, "The mount point")->required();
            verb.add_option("ACTION", options->actions,
                            "DISK/VERB or DISK/VERB/KEY=VALUE,...: a snapshot, or a command that "
                            "starts a job")
                ->required();
            verb.add_flag("--dry-run", options->dry_run, "Only check, and say what would be done");
            return [options](const CommonOptions& common) { return Transaction(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
