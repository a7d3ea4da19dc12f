// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/active_commit_work.h"

#include <algorithm>
#include <utility>

#include "jobs/copy/range_copier.h"

namespace chainfs::jobs {
ActiveCommitWork::ActiveCommitWork(Catalog& catalog, DiskPtr disk, const std::string& id,
                                   CommitPlan plan, CommitChoices choices, bool holds)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      choices_(choices),
      holds_(holds),
      marks_(catalog_, disk_, plan_, id) {}

Status ActiveCommitWork::Prepare() {
  CHAINFS_ASSIGN(std::unique_ptr<MergeDown> merge,
                 MergeDown::Make(catalog_, disk_, plan_.base, plan_.compression));
  std::vector<LayerLease> leases;
  for (const LayerPtr& layer : plan_.merged) {
    if (layer == plan_.top) continue;
    CHAINFS_ASSIGN(LayerLease lease, catalog_.leases().Take(layer, LeaseKind::kCommitMiddle));
    leases.push_back(std::move(lease));
    if (!choices_.reclaim) continue;
    CHAINFS_ASSIGN(LayerLease filled, catalog_.leases().Take(layer, LeaseKind::kFill));
    leases.push_back(std::move(filled));
  }
  CHAINFS_TRY(merge->Prepare());
  merge_ = std::move(merge);
  if (choices_.reclaim) {
    reclaimer_ =
        std::make_unique<ActiveReclaimer>(catalog_.context(), disk_, plan_, merge_->unit());
  }
  leases_ = std::move(leases);
  return {};
}

Status ActiveCommitWork::Begin() {
  CHAINFS_TRY(marks_.Set());
  if (reclaimer_ != nullptr) reclaimer_->Listen();
  return merge_->Begin();
}

uint64_t ActiveCommitWork::chunk_size() const { return std::max(kLargestCopy, merge_->unit()); }

Status ActiveCommitWork::Complete(const verbs::Arguments& arguments) {
  const std::string then = arguments.Text("then").value_or("pivot");
  if (then == "pivot") return {};
  return Fail(ErrorKind::kInvalidArgument,
              "a commit that is ready can be completed with then=pivot only; to leave the disk "
              "where it is, cancel it");
}

ChunkResult ActiveCommitWork::Process(uint64_t offset, uint64_t length) {
  marks_.BaseIsWritten();
  if (reclaimer_ == nullptr) return merge_->Process(offset, length);
  reclaimer_->Copies(offset, length);
  ChunkResult copied = merge_->Process(offset, length);
  if (!copied) return copied;
  Status reclaimed = reclaimer_->Copied(offset, length);
  if (!reclaimed) return std::unexpected(ChunkFailure{std::move(reclaimed).error(), true});
  return copied;
}

Status ActiveCommitWork::Settle() {
  CHAINFS_TRY(merge_->Settle());
  return reclaimer_ != nullptr ? reclaimer_->ReclaimAll() : Status();
}

Status ActiveCommitWork::Pivot() {
  marks_.BaseIsWritten();
  const bool removes =
      choices_.fate == MergedFate::kRemoveInSources || choices_.fate == MergedFate::kRemoveAnywhere;
  CHAINFS_ASSIGN(left_out_, merge_->Finish(marks_.id(), removes,
                                           choices_.fate == MergedFate::kRemoveAnywhere));
  if (choices_.fate == MergedFate::kEmpty) MergedLayers(catalog_, plan_.merged).Empty(left_out_);
  if (const Status cleared = marks_.Clear(); !cleared && left_out_.problem.empty()) {
    left_out_.problem = cleared.error().message;
  }
  return {};
}

void ActiveCommitWork::Release() {
  if (reclaimer_ != nullptr) reclaimer_->StopListening();
  if (merge_ != nullptr) merge_->Release();
  marks_.GiveUp();
  leases_.clear();
}

}  // namespace chainfs::jobs
