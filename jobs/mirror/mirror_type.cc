// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_type.h"

#include <utility>

#include "ctl/verbs/verb_table.h"
#include "jobs/mirror/intent_file.h"
#include "jobs/mirror/mirror_estimate.h"
#include "jobs/mirror/mirror_plan.h"
#include "jobs/mirror/mirror_work.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kMirror = "mirror";

Result<JobPlan> PlanMirrorJob(Catalog& catalog, const JobCommand& command) {
  CHAINFS_ASSIGN(MirrorPlan plan, PlanMirror(catalog, command));
  JobPlan job{.claims = ClaimsOf(plan),
              .command = CommandOf(plan),
              .warning = {},
              .other_disks = {},
              .work = {},
              .estimate = {}};
  job.work = [&catalog, plan](const std::string& id) {
    return std::make_unique<MirrorWork>(catalog, plan, id);
  };
  job.estimate = [&catalog, plan = std::move(plan)] {
    return std::make_unique<MirrorEstimate>(catalog, plan);
  };
  return job;
}

}  // namespace

JobType MirrorType() {
  return {.name = kMirror,
          .keys = verbs::FindVerb(verbs::Verbs(), kMirror)->keys,
          .plan = &PlanMirrorJob,
          .undoes = true,
          .companions = kIntentPrefix};
}

}  // namespace chainfs::jobs
