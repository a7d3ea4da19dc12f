// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_type.h"

#include <fmt/format.h>

#include <utility>

#include "ctl/verbs/verb_table.h"
#include "jobs/stream/space_check.h"
#include "jobs/stream/stream_estimate.h"
#include "jobs/stream/stream_plan.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kStream = "stream";

// Compression of what is merged is not offered; only its absence may be asked for.
Status RefuseCompression(const verbs::Arguments& arguments) {
  const std::string word = arguments.Text("compress").value_or("none");
  if (word == "none" || word == "no" || word == "off") return {};
  return Fail(ErrorKind::kUnsupported,
              fmt::format("compress={}: this release does not compress; leave it out", word));
}

verbs::Arguments CommandOf(const StreamPlan& plan, bool remove) {
  verbs::Arguments command;
  command.Set("top", plan.top->path);
  if (plan.base) command.Set("base", plan.base->path);
  if (remove) command.Set("delete", "yes");
  return command;
}

Result<JobPlan> PlanStreamJob(Catalog& catalog, const JobCommand& command) {
  const verbs::Arguments& arguments = command.arguments;
  CHAINFS_TRY(RefuseCompression(arguments));
  CHAINFS_ASSIGN(const bool removes, arguments.Switch("delete", false));
  CHAINFS_ASSIGN(StreamPlan plan,
                 PlanStream(catalog, *command.disk, arguments.Text("top"), arguments.Text("base")));
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
    return std::make_unique<StreamEstimate>(disk, plan, std::move(left_out));
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
