// SPDX-License-Identifier: Apache-2.0
//
// RebaseWork: a rebase as the scheduler sees it: comparing, and the end, whose order is that of
// blocklayer/catalog/rebases.h.
//
// Growth: the disk may grow meanwhile. What top gains is compared, too, at the latest when it
// cannot grow any more.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>
#include <optional>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"
#include "jobs/rebase/rebase_comparer.h"

namespace chainfs::jobs {

struct RebasePlan {
  LayerPtr top;
  std::shared_ptr<const LayerStack> now;  // what top stands on; null: nothing
  NewBase base;
  bool unsafe = false;

  // Bytes to compare, from 0.
  uint64_t length() const { return unsafe || base.already ? 0 : top->image->virtual_size(); }
  RebaseComparer Comparer() const {
    return {*top->image, now, base.stack, top->path, base.location.path};
  }
};

class RebaseWork final : public ChunkWork {
 public:
  // The catalog outlives the work.
  RebaseWork(Catalog& catalog, DiskPtr disk, RebasePlan plan);

  // Takes the locks of top.
  Status Prepare() override;
  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.top->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Pivot() override;
  void Release() override;

 private:
  Catalog& catalog_;
  const DiskPtr disk_;
  const RebasePlan plan_;
  const RebaseComparer comparer_;
  const uint64_t length_;
  CursorSource source_;
  std::optional<LayerLease> lease_;  // Prepare and Release only
};

}  // namespace chainfs::jobs
