// SPDX-License-Identifier: Apache-2.0
//
// BackupEstimate: what a backup would copy, and how long that would take: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include "jobs/backup/backup_plan.h"
#include "jobs/copy/copy_probe.h"
#include "jobs/copy/disk_source.h"
#include "jobs/copy/planned_sink.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

class BackupEstimate final : public ChunkWork {
 public:
  BackupEstimate(Catalog& catalog, DiskPtr disk, const BackupPlan& plan);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return sink_.cluster_size(); }
  uint64_t chunk_size() const override { return uint64_t{64} << 20; }
  bool estimates() const override { return true; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override {
    return probe_.Estimate(offset, length);
  }
  Status Settle() override;
  JobFacts Facts() const override { return probe_.Facts(); }

 private:
  const DiskPtr disk_;
  CursorSource source_;
  DiskSource from_;
  PlannedSink sink_;
  CopyProbe probe_;
};

}  // namespace chainfs::jobs
