// SPDX-License-Identifier: Apache-2.0
//
// MirrorEstimate: what a mirror would copy at first, and how long that would take: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include "jobs/copy/copy_probe.h"
#include "jobs/copy/disk_source.h"
#include "jobs/copy/planned_sink.h"
#include "jobs/engine/cursor_source.h"
#include "jobs/mirror/mirror_plan.h"

namespace chainfs::jobs {

class MirrorEstimate final : public ChunkWork {
 public:
  // The catalog outlives this.
  MirrorEstimate(Catalog& catalog, MirrorPlan plan);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return sink_.cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  bool UsersWait() const override { return plan_.disk->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override {
    return probe_.Estimate(offset, length);
  }
  Status Settle() override;
  JobFacts Facts() const override { return probe_.Facts(); }

 private:
  const MirrorPlan plan_;
  CursorSource source_;
  const DiskSource disk_;
  PlannedSink sink_;
  CopyProbe probe_;
};

}  // namespace chainfs::jobs
