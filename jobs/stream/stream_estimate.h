// SPDX-License-Identifier: Apache-2.0
//
// StreamEstimate: what a stream would copy, and how long that would take: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include <optional>
#include <string>

#include "jobs/copy/copy_probe.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"
#include "jobs/stream/stream_copier.h"
#include "jobs/stream/stream_plan.h"

namespace chainfs::jobs {

class StreamEstimate final : public ChunkWork {
 public:
  // `left_out`: what the stream would leave behind. `probe`: a directory, as CopyProbe has it.
  StreamEstimate(DiskPtr disk, StreamPlan plan, LeftOutLayers left_out,
                 const std::optional<std::string>& probe);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.top->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  LeftOutLayers LeftOut() override { return left_out_; }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  JobFacts Facts() const override { return probe_ ? probe_->Facts() : JobFacts(); }

 private:
  const DiskPtr disk_;
  const StreamPlan plan_;
  const LeftOutLayers left_out_;
  CursorSource source_;
  std::optional<StreamCopier> copier_;
  std::optional<CopyProbe> probe_;
};

}  // namespace chainfs::jobs
