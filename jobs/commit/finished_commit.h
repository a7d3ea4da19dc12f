// SPDX-License-Identifier: Apache-2.0
//
// FinishedCommit: what is left of a commit whose last step an earlier daemon made without being
// able to say so: the marks that it may have left.
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
  FinishedCommit(Catalog& catalog, LayerPtr base)
      : catalog_(catalog), base_(std::move(base)), source_(0) {}

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return base_->image->cluster_size(); }
  uint64_t chunk_size() const override { return unit(); }
  ChunkResult Process(uint64_t /*offset*/, uint64_t /*length*/) override { return 0; }
  Status Pivot() override { return catalog_.moves().UnmarkChanging({base_}); }

 private:
  Catalog& catalog_;
  const LayerPtr base_;
  CursorSource source_;
};

}  // namespace chainfs::jobs
