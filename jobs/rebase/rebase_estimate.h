// SPDX-License-Identifier: Apache-2.0
//
// RebaseEstimate: what a rebase would have to read, by looking at maps only: its dry run.
//
// Threads: as ChunkWork.
#pragma once

#include "jobs/rebase/rebase_work.h"

namespace chainfs::jobs {

class RebaseEstimate final : public ChunkWork {
 public:
  explicit RebaseEstimate(RebasePlan plan);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.top->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  ChunkResult Process(uint64_t offset, uint64_t length) override;

 private:
  const RebasePlan plan_;
  const RebaseComparer comparer_;
  CursorSource source_;
};

}  // namespace chainfs::jobs
