// SPDX-License-Identifier: Apache-2.0
//
// stream: start the job, wait for it.
#include <fmt/core.h>

#include "ctl/command_value.h"
#include "ctl/output.h"
#include "ctl/size.h"
#include "ctl/waiting.h"

namespace chainfs {
namespace {

Result<Command> StreamCommand(const StreamOptions& options, const std::string& id,
                              const CommonOptions& common) {
  CHAINFS_ASSIGN(const auto speed, SpeedInBytes(options.speed));
  CommandValue value;
  value.AddIf("base", options.base)
      .AddIf("top", options.top)
      .AddIf("speed", speed)
      .AddIf("on-error", options.on_error);
  if (options.generation) value.Add("generation", std::to_string(*options.generation));
  if (options.dry_run) value.Add("dry-run", "yes");
  value.Add("id", id);
  return Command{.verb = "stream", .value = value.text(), .verbose = common.verbose};
}

}  // namespace

Result<ExitCode> RunStream(const StreamOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckJobId(options.id));
  const std::string id = options.id.value_or(NewJobId("stream"));
  CHAINFS_ASSIGN(const Command command, StreamCommand(options, id, common));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  WaitSignals signals;
  CHAINFS_TRY(Send(disk, command));
  if (options.dry_run) {
    CHAINFS_ASSIGN(const JobReport estimate, ReadJob(disk, id));
    Print(common.json
              ? estimate.raw + "\n"
              : fmt::format("{}: estimate, nothing was done: the stream would copy up to {}\n",
                            disk.shown, FormatSize(estimate.total)));
    return ExitCode::kDone;
  }
  if (options.waiting.background) {
    if (common.json) {
      CHAINFS_ASSIGN(const JobReport job, ReadJob(disk, id));
      Print(job.raw + "\n");
    } else {
      Print(id + "\n");
    }
    return ExitCode::kDone;
  }
  return WaitAndReport("stream", disk, id, signals, OnInterrupt::kCancelJob, options.waiting,
                       common);
}

}  // namespace chainfs
