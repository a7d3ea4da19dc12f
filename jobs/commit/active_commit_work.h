// SPDX-License-Identifier: Apache-2.0
//
// ActiveCommitWork: a commit of the active layer, and of what lies between it and base, as the
// scheduler sees it: at its end the disk goes on with base, by itself. MergeDown copies and
// switches; this is the marks around it.
//
// Crash ordering (the record is the engine's). Each step is durable before the next one:
//   1. The record, so that the next daemon goes on; it copies everything again.
//   2. The layers that will show something else are marked as changing.
//   3. Base is enlarged, where it is shorter than the disk.
//   4. Everything is copied; the last of it while the disk's writes are held. Base is flushed. What
//      base has durably is given back meanwhile, if that was asked for (active_reclaimer.h).
//   5. The chain's record says that base is the active layer. Before it the disk is what it was,
//      after it the disk has the same contents in base.
//   6. Guests write to base; the layers above are stale and not shown any more. They are removed
//      or emptied, if that was asked for.
//   7. The marks go, then the job's record. Only then is the job said to be completed.
// A job that ends between 2 and 5 leaves the chain as it was, and the marks.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "jobs/commit/active_reclaimer.h"
#include "jobs/commit/commit_marks.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/commit/merged_layers.h"
#include "jobs/copy/merge_down.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

class ActiveCommitWork final : public ChunkWork {
 public:
  // The catalog outlives the work. `id`: of the job. `plan`: active, something to do. `holds`: the
  // disk stays where it is until somebody completes the job, which copies what guests write.
  ActiveCommitWork(Catalog& catalog, DiskPtr disk, const std::string& id, CommitPlan plan,
                   CommitChoices choices, bool holds);

  Status Prepare() override;
  Status Begin() override;
  // Not before Prepare, like the next two.
  WorkSource& source() override { return merge_->source(); }
  uint64_t unit() const override { return merge_->unit(); }
  uint64_t chunk_size() const override;
  bool gets_ready() const override { return holds_; }
  // then=pivot is the one end that it has.
  Status Complete(const verbs::Arguments& arguments) override;
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  Status Pivot() override;
  LeftOutLayers LeftOut() override { return left_out_; }
  void Release() override;

 private:
  Catalog& catalog_;
  const DiskPtr disk_;
  const CommitPlan plan_;
  const CommitChoices choices_;
  const bool holds_;
  CommitMarks marks_;
  std::unique_ptr<MergeDown> merge_;            // from Prepare on
  std::unique_ptr<ActiveReclaimer> reclaimer_;  // the same; null: nothing is reclaimed
  std::vector<LayerLease> leases_;              // Prepare and Release only
  LeftOutLayers left_out_;
};

}  // namespace chainfs::jobs
