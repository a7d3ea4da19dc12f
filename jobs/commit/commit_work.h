// SPDX-License-Identifier: Apache-2.0
//
// CommitWork: a commit whose top is not the active layer, as the scheduler sees it. CommitCopier
// copies; this is the rest: the locks, the marks, and the end.
//
// Crash ordering (the record is the engine's). Each step is durable before the next one:
//   1. The record, so that the next daemon goes on.
//   2. The layers that will show something else (CommitPlan::Spoilt) are marked as changing: from
//      here on no daemon shows them as something to rely on. The disk shows the same at any moment,
//      because the layers from top down to the one above base cover what base gets.
//   3. Base is enlarged, where it is shorter than top.
//   4. Everything is copied, and base is flushed.
//   5. The record says that the phase is "pivot". The merged layers are marked as left out; base is
//      not changing any more.
//   6. SetBacking: one sector of the header above top. The old and the new name show the same.
//   7. The shorter list of layers is published. Only now are merged layers emptied or removed, if
//      that was asked for.
//   8. The record goes. Only then is the job said to be completed.
// A job that ends between 2 and 6 (cancelled, failed) leaves the chain as it was, and the marks,
// because base has changed; one that has written nothing yet takes them back.
//
// Threads: as ChunkWork.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "jobs/commit/commit_copier.h"
#include "jobs/commit/commit_marks.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/commit/merged_layers.h"
#include "jobs/commit/reclaimer.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

class CommitWork final : public ChunkWork {
 public:
  // The catalog outlives the work. `id`: of the job. `plan`: not active, something to do.
  CommitWork(Catalog& catalog, DiskPtr disk, const std::string& id, CommitPlan plan,
             CommitChoices choices);

  Status Prepare() override;
  Status Begin() override;
  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return copier_.unit(); }
  uint64_t chunk_size() const override;
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  Status Pivot() override;
  LeftOutLayers LeftOut() override;
  void Release() override;

 private:
  Status TakeLeases();
  Result<BackingReference> NewBacking() const;
  Status CheckAbove() const;

  Catalog& catalog_;
  const DiskPtr disk_;
  const CommitPlan plan_;
  const CommitChoices choices_;
  WritableImage& base_;
  WritableImage& above_;
  CommitMarks marks_;
  CommitCopier copier_;
  Reclaimer reclaimer_;
  CursorSource source_;
  std::vector<LayerLease> leases_;  // Prepare and Release only
};

}  // namespace chainfs::jobs
