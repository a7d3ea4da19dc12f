// SPDX-License-Identifier: Apache-2.0
//
// ActiveReclaimer: gives back, while the active layer is committed and guests write to it, the
// space of what has reached base durably.
//
// Terms: a region is *moved* once it was copied and nobody has changed it since the copy began;
// *settling* while base and the layers between are made ready for its going.
//
// Crash ordering, of regions that are moved: base is flushed; they become unallocated in the layers
// between, from the lowest up, each time durably (reclaimer.h); stacks forget what their index says
// of base there; then, while no change of the disk is under way, those that nobody has changed
// meanwhile become unallocated in the active layer. So at any moment, and after a crash at any, the
// active layer covers what guests have written since, and base shows the rest. Where the commit
// ends without its last step, the disk goes on like this: the chain shows what it showed.
//
// Threads: all methods, any thread, also at once. mu_ is a leaf, not held across I/O; the write
// gate of the disk is held for a moment, for metadata of a few MiB of the disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/disk.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/commit/reclaimer.h"

namespace chainfs::jobs {

class ActiveReclaimer {
 public:
  // `plan`: active. `region`: bytes, whole clusters of all its layers. `plan` and the context
  // outlive this.
  ActiveReclaimer(BlockContext& context, DiskPtr disk, const CommitPlan& plan, uint64_t region);
  ~ActiveReclaimer() { StopListening(); }
  ActiveReclaimer(const ActiveReclaimer&) = delete;
  ActiveReclaimer& operator=(const ActiveReclaimer&) = delete;

  // To the changes of the disk: before anything is copied. One caller at a time, like the next.
  void Listen();
  void StopListening();
  // Whole regions are about to be copied into base.
  void Copies(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // They were, or that failed. Reclaims now and then.
  Status Copied(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // Reclaims all that is moved by now.
  Status ReclaimAll() EXCLUDES(mu_);

 private:
  enum class State : uint8_t { kHere, kBeingCopied, kMoved, kSettling };
  class Tap;

  // From the first region that is touched to behind the last one.
  void SetAll(uint64_t offset, uint64_t length, State state) noexcept EXCLUDES(mu_);
  // Those that are moved settle from now on.
  std::vector<ChunkRange> BeginSettling() EXCLUDES(mu_);
  // What did not get to its end is moved still.
  void EndSettling() EXCLUDES(mu_);
  // Of the range: what is settling still, which is here no more after that.
  std::vector<ChunkRange> TakeSettled(const ChunkRange& range) EXCLUDES(mu_);
  Status ReclaimNow(const std::vector<ChunkRange>& ranges);
  Status ReclaimInTop(const ChunkRange& range) EXCLUDES(mu_);

  BlockContext& context_;
  const DiskPtr disk_;
  const LayerPtr top_;
  const LayerPtr base_;
  const uint64_t size_;
  const uint64_t region_;
  Reclaimer below_;  // in the layers between
  std::shared_ptr<WriteTap> tap_;
  std::atomic<bool> reclaims_ = false;  // somebody does
  Mutex mu_;
  std::vector<State> states_ GUARDED_BY(mu_);  // by region
  uint64_t moved_ GUARDED_BY(mu_) = 0;         // bytes copied since the last time
};

}  // namespace chainfs::jobs
