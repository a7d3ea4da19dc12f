// SPDX-License-Identifier: Apache-2.0
//
// CommitCopier: the copying of a commit whose top is not the active layer: what the merged layers
// own goes down into base.
//
// Ends: base may be longer than top, and the layer above top, too. What base has past the end of
// top did not show through that layer, and must not do so when base comes to lie right below it:
// what it leaves unallocated there becomes zeros of its own (*hiding*). Base keeps what it has.
//
// Threads: all methods, any thread, also at once for different ranges.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/chain/block_context.h"
#include "jobs/commit/commit_plan.h"
#include "jobs/copy/merge_copier.h"
#include "jobs/copy/populate_sink.h"
#include "jobs/copy/stack_source.h"

namespace chainfs::jobs {

class CommitCopier {
 public:
  // `plan`: not active, something to do; it and the context outlive this. Base will be at least as
  // long as top when something is processed.
  CommitCopier(BlockContext& context, const CommitPlan& plan);

  // Bytes: chunks begin and end at multiples of it, or at the end of length().
  uint64_t unit() const { return unit_; }
  uint64_t length() const { return length_; }  // of what is walked, from 0
  // Whether something is hidden, so the layer above top is written, too.
  bool hides() const { return length_ > size_; }
  Status EnlargeBase(uint64_t size) { return down_.EnlargeBase(size); }
  void ForgetAllPlaces() const { down_.ForgetAllPlaces(); }
  // Returns the bytes copied, zeros not counted.
  ChunkResult Process(uint64_t offset, uint64_t length);
  // What Process would return, without copying: zeros in data are not looked for.
  ChunkResult Estimate(uint64_t offset, uint64_t length);

 private:
  ChunkResult Hide(uint64_t offset, uint64_t end);

  WritableImage& above_;
  const StackSource source_;
  const uint64_t size_;      // of top
  const uint64_t hide_end_;  // nothing is to be hidden past it
  const uint64_t length_;
  const uint64_t unit_;
  MergeCopier down_;
  PopulateSink above_sink_;
  RangeCopier hider_;
};

}  // namespace chainfs::jobs
