// SPDX-License-Identifier: Apache-2.0
//
// CommitEstimate: what a commit would copy, by looking at maps only: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>

#include "jobs/commit/commit_plan.h"
#include "jobs/copy/copy_source.h"
#include "jobs/copy/merge_copier.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

class CommitEstimate final : public ChunkWork {
 public:
  // `left_out`: what the commit would leave behind.
  CommitEstimate(Catalog& catalog, DiskPtr disk, CommitPlan plan, LeftOutLayers left_out);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.base->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  LeftOutLayers LeftOut() override { return left_out_; }
  ChunkResult Process(uint64_t offset, uint64_t length) override {
    return copier_.Estimate(offset, length);
  }

 private:
  const DiskPtr disk_;
  const CommitPlan plan_;
  const LeftOutLayers left_out_;
  const std::unique_ptr<const CopySource> merged_;
  CursorSource source_;
  MergeCopier copier_;
};

}  // namespace chainfs::jobs
