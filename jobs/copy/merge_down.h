// SPDX-License-Identifier: Apache-2.0
//
// MergeDown: merges what a disk has above `base`, its active layer included, down into base while
// guests write, and at last has the disk go on with base. What the disk shows never changes.
//
// At first every region is dirty; a tap marks again what guests change. Regions are copied until so
// few are dirty that the rest is quick. Then the disk's writes are held for that last round, base
// is flushed, and the catalog switches. Until that is durable, the layers above cover all that base
// has got, so an end at any moment leaves the disk with its old layers and the same contents.
//
// A guest that dirties regions faster than they are copied is slowed once everything has been
// copied twice over: each of its writes then waits a little while too many regions are dirty, but
// not while the copying stands still (a pause, a speed limit).
//
// The disk cannot grow meanwhile, and no snapshot can be taken (layer_claims.h): base would not be
// what the disk is then.
//
// Threads: Process, any, also at once for different ranges. The rest from one at a time, when no
// Process is under way.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "jobs/copy/disk_source.h"
#include "jobs/copy/merge_copier.h"
#include "jobs/copy/merge_source.h"

namespace chainfs::jobs {

class MergeDown {
 public:
  // `base`: a layer of the disk's chain below its active one (else kStale). `compression`: as for
  // MergeCopier. The catalog outlives this.
  static Result<std::unique_ptr<MergeDown>> Make(Catalog& catalog, DiskPtr disk,
                                                 const LayerPtr& base,
                                                 std::optional<ImageCompression> compression = {});
  ~MergeDown() { Release(); }
  MergeDown(const MergeDown&) = delete;
  MergeDown& operator=(const MergeDown&) = delete;

  // Takes the lease on base. When it fails, nothing is held.
  Status Prepare();
  // Base is written from here on: listens to the disk, enlarges base to its size, marks everything.
  // Idempotent. kStale when the disk has another active layer or size than at first.
  Status Begin();
  WorkSource& source() { return source_; }
  uint64_t unit() const { return unit_; }
  ChunkResult Process(uint64_t offset, uint64_t length);
  // Flush of base.
  Status Settle() { return base_->image->writer()->Flush(); }
  // The switch, after the source was empty and Settle succeeded. When it fails, the disk goes on as
  // it was. `job`, `remove` and `anywhere`: as ContinueRequest has them.
  Result<LeftOutLayers> Finish(const std::string& job, bool remove, bool anywhere);
  // Nothing is listened to any more, the lease goes.
  void Release();

 private:
  // `layers`: of the disk, from the active one to base.
  MergeDown(Catalog& catalog, DiskPtr disk, const Layers& layers,
            std::shared_ptr<const LayerStack> below, std::optional<ImageCompression> compression);
  Status CheckUnchanged() const;
  // All that is dirty, in this thread, durably.
  Status CopyRest();
  Status LastRound();
  void StopListening();

  Catalog& catalog_;
  const DiskPtr disk_;
  const LayerPtr top_;
  const LayerPtr base_;
  const uint64_t size_;  // of the disk, bytes
  const uint64_t unit_;  // bytes
  DiskSource disk_source_;
  MergeSource source_;
  MergeCopier copier_;
  std::shared_ptr<WriteTap> tap_;  // while it listens
  std::optional<LayerLease> lease_;
};

}  // namespace chainfs::jobs
