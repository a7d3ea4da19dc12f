// SPDX-License-Identifier: Apache-2.0
//
// FinishedCommit: what is left of a commit whose last step an earlier daemon made without being
// able to say so: where the disk goes on with base, the mark that it may have left. Other commits
// have taken theirs away before.
//
// Threads: as ChunkWork.
#pragma once

#include <utility>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {

class FinishedCommit final : public ChunkWork {
 public:
  // The catalog outlives the work. `base`: of the commit.
  FinishedCommit(Catalog& catalog, DiskPtr disk, LayerPtr base)
      : catalog_(catalog), disk_(std::move(disk)), base_(std::move(base)), source_(0) {}

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return base_->image->cluster_size(); }
  uint64_t chunk_size() const override { return unit(); }
  ChunkResult Process(uint64_t /*offset*/, uint64_t /*length*/) override { return 0; }
  Status Pivot() override {
    const bool active = disk_->chain()->active == base_;
    return active ? catalog_.moves().UnmarkChanging({base_}) : Status();
  }

 private:
  Catalog& catalog_;
  const DiskPtr disk_;
  const LayerPtr base_;
  CursorSource source_;
};

}  // namespace chainfs::jobs
