// SPDX-License-Identifier: Apache-2.0
//
// stream: start the job, wait for it.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "ctl/command_value.h"
#include "ctl/json_access.h"
#include "ctl/layers.h"
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
  if (options.remove) value.Add("delete", "yes");
  if (options.dry_run) value.Add("dry-run", "yes");
  value.Add("id", id);
  return Command{.verb = "stream", .value = value.text(), .verbose = common.verbose};
}

// Paths, top first; nothing when they cannot all be told.
std::vector<std::string> LayersOf(const DiskPath& disk) {
  std::vector<std::string> paths;
  const Result<nlohmann::json> chain = ReadJsonAttribute(disk.path, "chain");
  if (!chain) return paths;
  for (const nlohmann::json& layer : *chain) {
    if (FlagOf(layer, "truncated")) return {};
    paths.push_back(TextOf(layer, "filename"));
  }
  return paths;
}

// Tells which of the layers that were merged nobody needs any more.
void ReportUnneeded(const DiskPath& disk, const std::vector<std::string>& before) {
  const std::vector<std::string> after = LayersOf(disk);
  if (before.empty() || after.empty()) return;
  std::vector<std::string> left_out;
  for (const std::string& path : before) {
    if (std::ranges::find(after, path) == after.end()) left_out.push_back(path);
  }
  const Result<std::vector<LayerFacts>> layers = ReadLayers(disk.mount);
  if (!layers) return;
  for (const LayerFacts& layer : NoLongerNeeded(*layers, left_out)) {
    Print(fmt::format("no image in view needs {} any more ({})\n", SafeText(layer.path),
                      FormatSize(layer.actual_size)));
  }
}

// The figure is right once the dry run has concluded, not before.
Result<ExitCode> ReportEstimate(const DiskPath& disk, const std::string& id, WaitSignals& signals,
                                const CommonOptions& common) {
  const WaitOptions options{.timeout = {}, .progress = {.quiet = true, .percent_fd = {}}};
  CHAINFS_ASSIGN(const WaitOutcome outcome, WaitForJob(disk, id, signals, options));
  const JobReport& estimate = outcome.job;
  if (outcome.end != WaitEnd::kConcluded || estimate.error) {
    Note(fmt::format("stream: {}: no estimate: {}", disk.shown,
                     estimate.error.value_or("interrupted")));
    return estimate.cancelled ? ExitCode::kCancelled : ExitCode::kFailed;
  }
  Print(common.json
            ? estimate.raw + "\n"
            : fmt::format("{}: estimate, nothing was done: the stream would copy up to {}\n",
                          disk.shown, FormatSize(estimate.total)));
  return ExitCode::kDone;
}

}  // namespace

Result<ExitCode> RunStream(const StreamOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckJobId(options.id));
  const std::string id = options.id.value_or(NewJobId("stream"));
  CHAINFS_ASSIGN(const Command command, StreamCommand(options, id, common));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  const std::vector<std::string> before = LayersOf(disk);
  WaitSignals signals;
  CHAINFS_TRY(Send(disk, command));
  if (options.dry_run) {
    return ReportEstimate(disk, id, signals, common);
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
  CHAINFS_ASSIGN(
      const ExitCode code,
      WaitAndReport("stream", disk, id, signals, OnInterrupt::kCancelJob, options.waiting, common));
  if (code == ExitCode::kDone && !common.json && !common.quiet && !options.remove) {
    ReportUnneeded(disk, before);
  }
  return code;
}

}  // namespace chainfs
