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
// Threads: all methods, any thread, also at once. mu_ is a leaf, not held across I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/block_context.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class Reclaimer {
 public:
  // `plan`: not active; it and the context outlive this. The merged layers are writable when
  // something is reclaimed.
  Reclaimer(BlockContext& context, const CommitPlan& plan) : context_(context), plan_(plan) {}

  // Bytes, of the disk, that were copied into base; whole clusters of all layers. Reclaims now and
  // then.
  Status Copied(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // Reclaims all that was copied by now.
  Status ReclaimAll() EXCLUDES(mu_);

 private:
  Status Reclaim(const std::vector<ChunkRange>& ranges);
  Status ReclaimIn(const Layer& layer, const std::vector<ChunkRange>& ranges);

  BlockContext& context_;
  const CommitPlan& plan_;
  Mutex mu_;
  std::vector<ChunkRange> copied_ GUARDED_BY(mu_);
  uint64_t bytes_ GUARDED_BY(mu_) = 0;
};

}  // namespace chainfs::jobs
