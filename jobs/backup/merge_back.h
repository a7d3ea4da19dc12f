// SPDX-License-Identifier: Apache-2.0
//
// MergeBack: the end of a point in time: what guests wrote meanwhile, into the overlay, is merged
// into the layer that was frozen, the disk goes on with that, and the overlay is removed. What the
// disk shows never changes.
//
// Crash ordering:
//   1. nobody opens the disk of the point any more; the frozen layer is marked as changing
//   2. the frozen layer is written, beneath the overlay, which covers all of it (merge_down.h)
//   3. the chain's record says that the frozen layer is active
//   4. the mark goes, the overlay goes
// A crash before 1 leaves the point as it was; between 1 and 3 the disk shows the same from the
// overlay on, and the next daemon begins the merge again; after 3 it only does 4.
//
// Threads: Process from several at once; the rest from one at a time, when no Process is under way.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "jobs/copy/merge_down.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

class MergeBack {
 public:
  // `id`: of the job that holds the point. `anywhere`: files outside the sources may be removed.
  MergeBack(Catalog& catalog, DiskPtr disk, FrozenPoint point, std::string id, bool anywhere)
      : catalog_(catalog),
        disk_(std::move(disk)),
        point_(std::move(point)),
        id_(std::move(id)),
        anywhere_(anywhere) {}
  ~MergeBack() { Release(); }
  MergeBack(const MergeBack&) = delete;
  MergeBack& operator=(const MergeBack&) = delete;

  // Whether somebody looks at the point just now. Quick.
  static std::optional<Error> Watched(Disk& view);
  // The disk of the point, if it is shown.
  static DiskPtr ViewOf(Catalog& catalog, const FrozenPoint& point);

  // Step 1, and the merge may begin. kBusy while somebody has the point open, or has built
  // something on it; nothing has changed then.
  Status Begin();
  // From here on after Begin.
  WorkSource& source() { return merge_->source(); }
  uint64_t unit() const { return merge_->unit(); }
  ChunkResult Process(uint64_t offset, uint64_t length) { return merge_->Process(offset, length); }
  Status Settle() { return merge_ == nullptr ? Status() : merge_->Settle(); }
  // After the source was empty: steps 3 and 4. What was removed, or is still there.
  Result<LeftOutLayers> Finish();
  // All of it in this thread, whatever was begun before. kShutdown once `stop` says so.
  Status Run(const std::function<bool()>& stop);
  void Release() { merge_.reset(); }

 private:
  Status CloseToReaders();
  Status CheckNobodyElse();

  Catalog& catalog_;
  const DiskPtr disk_;
  const FrozenPoint point_;
  const std::string id_;
  const bool anywhere_;
  std::unique_ptr<MergeDown> merge_;
};

}  // namespace chainfs::jobs
