// SPDX-License-Identifier: Apache-2.0
//
// Reclaimer: gives back, while a commit goes on, the space of what has reached base durably, so
// that merging needs no second copy of everything.
//
// Crash ordering, of a range that was copied: base is flushed; then the range becomes unallocated
// in the lowest merged layer, durably; then in the one above it; and so on to top. Like this what
// an upper layer uncovers is never something older of a lower one, but what base has, which is the
// same. Stacks forget the range before a place of it is given away (CHN-4).
//
// Past the end of a layer nothing from below it shows (CHN-2), so what lies above that stays.
//
// Threads: all methods, any thread, also at once. mu_ is a leaf, not held across I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class Reclaimer {
 public:
  // `merged`: layers right above `base`, top first, none of them written by a guest; writable when
  // something is reclaimed. The context outlives this.
  Reclaimer(BlockContext& context, LayerPtr base, Layers merged)
      : context_(context), base_(std::move(base)), merged_(std::move(merged)) {}

  // Bytes, of the disk, that were copied into base; whole clusters of all layers. Reclaims now and
  // then.
  Status Copied(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // Reclaims all that was copied by now.
  Status ReclaimAll() EXCLUDES(mu_);
  // These, which were copied. Base is flushed in any case.
  Status Reclaim(const std::vector<ChunkRange>& ranges);
  // Where what is below the merged layers shows through all of them: up to here, in bytes.
  uint64_t end() const;

 private:
  // `end`: nothing is reclaimed past it.
  Status ReclaimIn(const Layer& layer, const std::vector<ChunkRange>& ranges, uint64_t end);

  BlockContext& context_;
  const LayerPtr base_;
  const Layers merged_;
  Mutex mu_;
  std::vector<ChunkRange> copied_ GUARDED_BY(mu_);
  uint64_t bytes_ GUARDED_BY(mu_) = 0;
};

// Flushes until what the image has freed is given back to the host, as far as a few flushes do
// that.
Status FlushUntilGivenBack(WritableImage& image);

// Stacks with this layer forget where their bytes of these ranges lie (CHN-4).
void ForgetInStacks(BlockContext& context, const Layer& layer,
                    const std::vector<ChunkRange>& ranges);

// Makes the part of `range` before `end` unallocated, as far as that is whole clusters of `image`.
Status UnpopulateBefore(WritableImage& image, const ChunkRange& range, uint64_t end);

}  // namespace chainfs::jobs
