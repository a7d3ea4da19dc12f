// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_type.h"

#include <utility>

#include "ctl/verbs/verb_table.h"
#include "jobs/copy/compress_key.h"
#include "jobs/stream/space_check.h"
#include "jobs/stream/stream_estimate.h"
#include "jobs/stream/stream_plan.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kStream = "stream";

verbs::Arguments CommandOf(const StreamPlan& plan, bool remove) {
  verbs::Arguments command;
  command.Set("top", plan.top->path);
  if (plan.base) command.Set("base", plan.base->path);
  if (remove) command.Set("delete", "yes");
  if (plan.compression) command.Set("compress", CompressionName(*plan.compression));
  return command;
}

Result<JobPlan> PlanStreamJob(Catalog& catalog, const JobCommand& command) {
  const verbs::Arguments& arguments = command.arguments;
  CHAINFS_ASSIGN(const bool removes, arguments.Switch("delete", false));
  CHAINFS_ASSIGN(StreamPlan plan,
                 PlanStream(catalog, *command.disk, arguments.Text("top"), arguments.Text("base")));
  CHAINFS_ASSIGN(plan.compression, CompressionWanted(arguments));
  CHAINFS_TRY(CheckCompression(*plan.top, plan.compression));
  const RemoveLayers remove = !removes             ? RemoveLayers::kNo
                              : command.privileged ? RemoveLayers::kAnywhere
                                                   : RemoveLayers::kInSources;
  JobPlan job{.claims = ClaimsOf(plan),
              .command = CommandOf(plan, removes),
              .warning = SpaceWarning(plan),
              .other_disks = {},
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
