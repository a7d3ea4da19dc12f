// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/command_table.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "ctl/qmp/about.h"
#include "ctl/qmp/commit_command.h"
#include "ctl/qmp/copy_commands.h"
#include "ctl/qmp/job_commands.h"
#include "ctl/qmp/monitor_command.h"
#include "ctl/qmp/node_queries.h"
#include "ctl/qmp/resize_command.h"
#include "ctl/qmp/snapshot_command.h"
#include "ctl/qmp/stream_command.h"
#include "ctl/qmp/target_commands.h"
#include "ctl/qmp/transaction_command.h"
#include "ctl/verbs/verb_table.h"

namespace chainfs::qmp {
namespace {

Answer QueryCommands(Client& client, Parameters& parameters);

constexpr std::array kCommands = {
    Command{"query-version", QueryVersion},
    Command{"query-commands", QueryCommands},
    Command{"query-status", QueryStatus},
    Command{"query-block", QueryBlock},
    Command{"query-named-block-nodes", QueryNamedBlockNodes},
    Command{"query-jobs", QueryJobs},
    Command{"query-block-jobs", QueryBlockJobs},
    Command{"block-stream", BlockStream},
    Command{"block-commit", BlockCommit, "commit"},
    Command{"blockdev-mirror", BlockdevMirror, "mirror"},
    Command{"drive-mirror", DriveMirror, "mirror"},
    Command{"blockdev-backup", BlockdevBackup, "backup"},
    Command{"drive-backup", DriveBackup, "backup"},
    Command{"blockdev-snapshot", BlockdevSnapshot},
    Command{"blockdev-snapshot-sync", BlockdevSnapshotSync},
    Command{"transaction", Transaction, "transaction"},
    Command{"block_resize", BlockResize, "resize"},
    Command{"blockdev-add", BlockdevAdd},
    Command{"blockdev-del", BlockdevDel},
    Command{"job-pause", JobPause},
    Command{"job-resume", JobResume},
    Command{"job-cancel", JobCancel},
    Command{"job-complete", JobComplete},
    Command{"job-finalize", JobFinalize},
    Command{"job-dismiss", JobDismiss},
    Command{"block-job-pause", BlockJobPause},
    Command{"block-job-resume", BlockJobResume},
    Command{"block-job-cancel", BlockJobCancel},
    Command{"block-job-complete", BlockJobComplete},
    Command{"block-job-finalize", BlockJobFinalize},
    Command{"block-job-dismiss", BlockJobDismiss},
    Command{"block-job-set-speed", BlockJobSetSpeed},
    Command{"block-job-change", BlockJobChange, "mirror"},
    Command{"human-monitor-command", HumanMonitorCommand},
};

bool IsThere(const Command& command) {
  return command.verb.empty() || verbs::FindVerb(verbs::Verbs(), command.verb) != nullptr;
}

Answer QueryCommands(Client& /*client*/, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  auto names = nlohmann::ordered_json::array({{{"name", "qmp_capabilities"}}});
  for (const Command& command : kCommands) {
    if (IsThere(command)) names.push_back({{"name", command.name}});
  }
  return names;
}

}  // namespace

const Command* FindCommand(std::string_view name) {
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  return found != kCommands.end() && IsThere(*found) ? &*found : nullptr;
}

}  // namespace chainfs::qmp
