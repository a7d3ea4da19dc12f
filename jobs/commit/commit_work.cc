// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/copy/range_copier.h"

namespace chainfs::jobs {
CommitWork::CommitWork(Catalog& catalog, DiskPtr disk, const std::string& id, CommitPlan plan,
                       CommitChoices choices)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      choices_(choices),
      base_(*plan_.base->image->writer()),
      above_(*plan_.above->image->writer()),
      marks_(catalog_, disk_, plan_, id),
      copier_(catalog_.context(), plan_),
      reclaimer_(catalog_.context(), plan_.base, plan_.merged),
      source_(copier_.length()) {}

Status CommitWork::TakeLeases() {
  const auto take = [&](const LayerPtr& layer, LeaseKind kind) -> Status {
    CHAINFS_ASSIGN(LayerLease lease, catalog_.leases().Take(layer, kind));
    leases_.push_back(std::move(lease));
    return {};
  };
  CHAINFS_TRY(take(plan_.above, LeaseKind::kFill));
  CHAINFS_TRY(take(plan_.base, LeaseKind::kCommitBase));
  for (const LayerPtr& layer : plan_.merged) {
    CHAINFS_TRY(take(layer, LeaseKind::kCommitMiddle));
    if (choices_.reclaim) CHAINFS_TRY(take(layer, LeaseKind::kFill));
  }
  return {};
}

Result<BackingReference> CommitWork::NewBacking() const {
  return catalog_.ReferenceTo(*disk_, *plan_.above, *plan_.base);
}

Status CommitWork::CheckAbove() const {
  if (!above_.writable()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{}: its backing file cannot be changed: {}",
                                       plan_.above->path, plan_.above->ReadOnlyReason())));
  }
  CHAINFS_ASSIGN(const BackingReference backing, NewBacking());
  return above_.CanSetBacking(backing);
}

Status CommitWork::Prepare() {
  Status prepared = TakeLeases();
  if (prepared) prepared = CheckAbove();
  if (!prepared) leases_.clear();
  return prepared;
}

Status CommitWork::Begin() {
  CHAINFS_TRY(marks_.Set());
  return copier_.EnlargeBase(plan_.top->image->virtual_size());
}

uint64_t CommitWork::chunk_size() const { return std::max(kLargestCopy, unit()); }

ChunkResult CommitWork::Process(uint64_t offset, uint64_t length) {
  marks_.BaseIsWritten();
  ChunkResult copied = copier_.Process(offset, length);
  if (!copied || !choices_.reclaim) return copied;
  Status reclaimed = reclaimer_.Copied(offset, length);
  if (!reclaimed) return std::unexpected(ChunkFailure{std::move(reclaimed).error(), true});
  return copied;
}

Status CommitWork::Settle() {
  CHAINFS_TRY(base_.Flush());
  if (copier_.hides()) CHAINFS_TRY(above_.Flush());
  return choices_.reclaim ? reclaimer_.ReclaimAll() : Status();
}

Status CommitWork::Pivot() {
  CHAINFS_ASSIGN(const BackingReference backing, NewBacking());
  CHAINFS_TRY(above_.CanSetBacking(backing));
  CHAINFS_TRY(marks_.MarkTop());
  CHAINFS_TRY(catalog_.MarkLeftOut(*disk_, *plan_.base, plan_.merged));
  CHAINFS_TRY(marks_.Clear());
  CHAINFS_TRY(above_.SetBacking(backing));
  copier_.ForgetAllPlaces();
  catalog_.DropLayersBetween(plan_.above, plan_.base);
  marks_.TellChanged();
  return {};
}

LeftOutLayers CommitWork::LeftOut() {
  return MergedLayers(catalog_, plan_.merged).Meet(choices_.fate, *plan_.above);
}

void CommitWork::Release() {
  marks_.GiveUp();
  leases_.clear();
}

}  // namespace chainfs::jobs
