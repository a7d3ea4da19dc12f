// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_type.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/verbs/verb_table.h"
#include "jobs/copy/compress_key.h"
#include "jobs/copy/read_trace.h"
#include "jobs/stream/space_check.h"
#include "jobs/stream/stream_estimate.h"
#include "jobs/stream/stream_plan.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kStream = "stream";

// `trace`: its path, as long as it is to be replayed.
verbs::Arguments CommandOf(const StreamPlan& plan, bool remove,
                           const std::optional<std::string>& trace) {
  verbs::Arguments command;
  command.Set("top", plan.top->path);
  if (plan.base) command.Set("base", plan.base->path);
  if (remove) command.Set("delete", "yes");
  if (plan.compression) command.Set("compress", CompressionName(*plan.compression));
  command.SetIf("trace", trace);
  return command;
}

struct NamedTrace {
  std::vector<ChunkRange> ranges;
  std::string path;
};

Result<NamedTrace> ReadTrace(Catalog& catalog, const JobCommand& command, const std::string& name) {
  CHAINFS_ASSIGN(const FileLocation location,
                 catalog.user_files().Find(command.disk, name, command.privileged));
  CHAINFS_ASSIGN(const std::string text,
                 location.directory->ReadSmallFile(location.name, kMostTraceBytes));
  CHAINFS_ASSIGN(std::vector<ChunkRange> ranges, ParseTrace(location.path, text));
  return NamedTrace{.ranges = std::move(ranges), .path = location.path};
}

// What the command names. A job that is taken up goes on without one that has gone, with a
// `warning`.
Result<std::optional<NamedTrace>> TraceOf(Catalog& catalog, const JobCommand& command,
                                          std::optional<std::string>& warning) {
  const std::optional<std::string> name = command.arguments.Text("trace");
  if (!name) return std::nullopt;
  Result<NamedTrace> trace = ReadTrace(catalog, command, *name);
  if (trace) return *std::move(trace);
  if (command.taken_up.empty()) return std::unexpected(std::move(trace).error());
  warning = fmt::format("goes on without its trace: {}", trace.error().message);
  return std::nullopt;
}

Result<JobPlan> PlanStreamJob(Catalog& catalog, const JobCommand& command) {
  const verbs::Arguments& arguments = command.arguments;
  CHAINFS_ASSIGN(const bool removes, arguments.Switch("delete", false));
  CHAINFS_ASSIGN(StreamPlan plan,
                 PlanStream(catalog, *command.disk, arguments.Text("top"), arguments.Text("base")));
  if (!command.privileged && command.taken_up.empty()) {
    CHAINFS_TRY(catalog.moves().CheckMayWrite(*command.disk, {plan.top}));
  }
  CHAINFS_ASSIGN(plan.compression, CompressionWanted(arguments));
  CHAINFS_TRY(CheckCompression(*plan.top, plan.compression));
  std::optional<std::string> warning = SpaceWarning(plan);
  CHAINFS_ASSIGN(std::optional<NamedTrace> trace, TraceOf(catalog, command, warning));
  if (trace) plan.trace = std::move(trace->ranges);
  const RemoveLayers remove = !removes             ? RemoveLayers::kNo
                              : command.privileged ? RemoveLayers::kAnywhere
                                                   : RemoveLayers::kInSources;
  JobPlan job{.claims = ClaimsOf(plan),
              .command = CommandOf(plan, removes,
                                   trace ? std::optional(std::move(trace->path)) : std::nullopt),
              .warning = std::move(warning),
              .other_disks = {},
              .freeze = {},
              .work = {},
              .estimate = {}};
  job.work = [&catalog, disk = command.disk, plan, remove](const std::string& /*id*/) {
    return std::make_unique<StreamWork>(catalog, disk, plan, remove);
  };
  job.estimate = [&catalog, disk = command.disk, plan = std::move(plan)] {
    LeftOutLayers left_out{
        .unneeded = catalog.Unneeded(*plan.top, plan.between), .removed = {}, .problem = {}};
    return std::make_unique<StreamEstimate>(disk, plan, std::move(left_out),
                                            ProbeDirectory(catalog, plan.top->path));
  };
  return job;
}

}  // namespace

JobType StreamType() {
  return {.name = kStream,
          .keys = verbs::FindVerb(verbs::Verbs(), kStream)->keys,
          .plan = &PlanStreamJob};
}

}  // namespace chainfs::jobs
