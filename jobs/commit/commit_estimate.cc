// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_estimate.h"

#include <utility>

#include "jobs/copy/disk_source.h"
#include "jobs/copy/stack_source.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kLookAtOnce = 64 << 20;

std::unique_ptr<const CopySource> SourceOf(const CommitPlan& plan, const DiskPtr& disk,
                                           BlockContext& context) {
  if (plan.active()) return std::make_unique<DiskSource>(disk, context);
  return std::make_unique<StackSource>(plan.source);
}

}  // namespace

CommitEstimate::CommitEstimate(Catalog& catalog, DiskPtr disk, CommitPlan plan,
                               LeftOutLayers left_out, const std::optional<std::string>& probe)
    : disk_(std::move(disk)),
      plan_(std::move(plan)),
      left_out_(std::move(left_out)),
      merged_(SourceOf(plan_, disk_, catalog.context())),
      source_(merged_->size()),
      sink_(plan_.base->image->cluster_size()),
      // What compression would take is not measured.
      probe_(*merged_, sink_, {.layers = static_cast<uint32_t>(plan_.merged.size())},
             plan_.compression ? std::nullopt : probe, plan_.base->image.get()) {}

Status CommitEstimate::Settle() {
  probe_.Finish();
  return {};
}

uint64_t CommitEstimate::chunk_size() const { return kLookAtOnce; }

}  // namespace chainfs::jobs
