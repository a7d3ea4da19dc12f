// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_estimate.h"

#include <utility>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kMirrorLook = 64 << 20;

CopySelection SelectionOf(const MirrorPlan& plan) {
  const bool top = plan.sync == MirrorSync::kTop && !plan.existing;
  return {.layers = top ? 1 : CopySelection::kAllLayers, .zeros_until = CopySelection::kEverywhere};
}

}  // namespace

MirrorEstimate::MirrorEstimate(Catalog& catalog, MirrorPlan plan)
    : plan_(std::move(plan)),
      source_(plan_.sync == MirrorSync::kNone ? 0 : plan_.disk->size()),
      disk_(plan_.disk, catalog.context()),
      sink_(uint64_t{1} << plan_.clusters.bits),
      probe_(disk_, sink_, SelectionOf(plan_),
             // What compression would take is not measured.
             plan_.compression ? std::nullopt : ProbeDirectory(catalog, plan_.target)) {}

Status MirrorEstimate::Settle() {
  probe_.Finish();
  return {};
}

uint64_t MirrorEstimate::chunk_size() const { return kMirrorLook; }

}  // namespace chainfs::jobs
