// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/command_table.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "ctl/qmp/about.h"
#include "ctl/qmp/job_commands.h"
#include "ctl/qmp/monitor_command.h"
#include "ctl/qmp/node_queries.h"
#include "ctl/qmp/snapshot_command.h"
#include "ctl/qmp/stream_command.h"
#include "ctl/qmp/target_commands.h"

namespace chainfs::qmp {
namespace {

Answer QueryCommands(Client& /*client*/, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  auto names = nlohmann::ordered_json::array({{{"name", "qmp_capabilities"}}});
  for (const Command& command : Commands()) names.push_back({{"name", command.name}});
  return names;
}

constexpr std::array kCommands = {
    Command{"query-version", QueryVersion},
    Command{"query-commands", QueryCommands},
    Command{"query-status", QueryStatus},
    Command{"query-block", QueryBlock},
    Command{"query-named-block-nodes", QueryNamedBlockNodes},
    Command{"query-jobs", QueryJobs},
    Command{"query-block-jobs", QueryBlockJobs},
    Command{"block-stream", BlockStream},
    Command{"blockdev-snapshot-sync", BlockdevSnapshotSync},
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
    Command{"human-monitor-command", HumanMonitorCommand},
};

}  // namespace

std::span<const Command> Commands() { return kCommands; }

const Command* FindCommand(std::string_view name) {
  const auto found = std::ranges::find(kCommands, name, &Command::name);
  return found == kCommands.end() ? nullptr : &*found;
}

}  // namespace chainfs::qmp
