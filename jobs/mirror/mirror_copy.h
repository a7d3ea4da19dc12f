// SPDX-License-Identifier: Apache-2.0
//
// MirrorCopy: copies ranges of a disk in use to the target of its mirror. Ranges that overlap are
// copied one after the other, each as the disk is by then; so of two copies of a range the one that
// began later stays, and it has all that was written before it began.
//
// Threads: all methods, any thread.
#pragma once

#include <memory>

#include "blocklayer/chain/disk.h"
#include "blocklayer/image/range_lock.h"
#include "jobs/copy/disk_source.h"
#include "jobs/copy/overwrite_sink.h"
#include "jobs/copy/range_copier.h"

namespace chainfs::jobs {

class MirrorCopy {
 public:
  // `target`, top to base, is written by nobody else. `above_common`: only what the disk's layers
  // have above the one that the target is built on is copied; the target must have had nothing of
  // its own then. `compression`: one that the target can hold. Context and target outlive this.
  MirrorCopy(DiskPtr disk, BlockContext& context, Layers target, bool above_common,
             std::optional<ImageCompression> compression = {});

  // Ranges begin at multiples of it, and end at one or at the end of the disk.
  uint64_t unit() const { return unit_; }
  // Returns the bytes copied, zeros not counted. `first`: what the target has not got yet may be
  // compressed; no guest waits for it.
  ChunkResult Copy(uint64_t offset, uint64_t length, bool first = false);
  // What is copied is durable on return.
  Status Flush() { return image_.Flush(); }

 private:
  std::shared_ptr<RangeCopier> CopierFor(const Chain& chain, bool first) EXCLUDES(mu_);
  // How many of the disk's layers, from the top.
  uint32_t LayersToCopy(const Chain& chain) const;

  const DiskPtr disk_;
  const Layers target_;
  WritableImage& image_;  // the target's own
  const bool above_common_;
  const uint64_t unit_;
  const DiskSource source_;
  const std::unique_ptr<CopySink> sink_;
  const std::unique_ptr<CopySink> packing_sink_;  // null: nothing is compressed
  RangeLock ranges_;
  Mutex mu_;                                 // a leaf
  uint64_t generation_ GUARDED_BY(mu_) = 0;  // of the chain that the copiers are for
  std::shared_ptr<RangeCopier> copier_ GUARDED_BY(mu_);
  std::shared_ptr<RangeCopier> packer_ GUARDED_BY(mu_);  // null: as above
};

}  // namespace chainfs::jobs
