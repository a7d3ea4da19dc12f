// SPDX-License-Identifier: Apache-2.0
//
// CommitEstimate: what a commit would copy, and how long that would take: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "jobs/commit/commit_plan.h"
#include "jobs/copy/copy_probe.h"
#include "jobs/copy/copy_source.h"
#include "jobs/copy/planned_sink.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

class CommitEstimate final : public ChunkWork {
 public:
  // `left_out`: what the commit would leave behind. `probe`: a directory, as CopyProbe has it.
  CommitEstimate(Catalog& catalog, DiskPtr disk, CommitPlan plan, LeftOutLayers left_out,
                 const std::optional<std::string>& probe);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.base->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  LeftOutLayers LeftOut() override { return left_out_; }
  ChunkResult Process(uint64_t offset, uint64_t length) override {
    return probe_.Estimate(offset, length);
  }
  Status Settle() override;
  JobFacts Facts() const override { return probe_.Facts(); }

 private:
  const DiskPtr disk_;
  const CommitPlan plan_;
  const LeftOutLayers left_out_;
  const std::unique_ptr<const CopySource> merged_;
  CursorSource source_;
  PlannedSink sink_;
  CopyProbe probe_;
};

}  // namespace chainfs::jobs
