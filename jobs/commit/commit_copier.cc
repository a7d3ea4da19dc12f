// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_copier.h"

#include <algorithm>

#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {
namespace {

// A chunk is to hold whole clusters of all that is written or emptied.
uint64_t LargestCluster(const CommitPlan& plan) {
  uint64_t largest = std::max(plan.base->image->cluster_size(), plan.above->image->cluster_size());
  for (const LayerPtr& layer : plan.merged) {
    largest = std::max<uint64_t>(largest, layer->image->cluster_size());
  }
  return largest;
}

}  // namespace

CommitCopier::CommitCopier(BlockContext& context, const CommitPlan& plan)
    : above_(*plan.above->image->writer()),
      source_(plan.source),
      size_(plan.top->image->virtual_size()),
      hide_end_(std::min(above_.virtual_size(), plan.base->image->virtual_size())),
      length_(std::max(size_, hide_end_)),
      unit_(ChunkUnit(LargestCluster(plan), plan.compression)),
      down_(context, source_, static_cast<uint32_t>(plan.merged.size()), plan.base, plan.below,
            plan.compression),
      above_sink_(above_),
      hider_(source_, above_sink_,
             {.layers = static_cast<uint32_t>(plan.merged.size()), .zeros_until = hide_end_}) {}

ChunkResult CommitCopier::Process(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  uint64_t copied = 0;
  if (offset < size_) {
    const ChunkResult down = down_.Process(offset, std::min(end, size_) - offset);
    if (!down) return down;
    copied += *down;
  }
  if (end <= size_) return copied;
  const ChunkResult hidden = Hide(offset, end);
  return hidden ? copied + *hidden : hidden;
}

// Only whole clusters can be populated, but for the last one of the disk. Which that is changes
// when the disk grows, also meanwhile.
ChunkResult CommitCopier::Hide(uint64_t offset, uint64_t end) {
  const uint64_t cluster = above_.cluster_size();
  const uint64_t from = std::max(offset, RoundDown(size_, cluster));
  for (;;) {
    const uint64_t size = above_.virtual_size();
    const uint64_t until = std::min(RoundUp(end, cluster), size);
    ChunkResult done = hider_.Process(from, until - from);
    if (done || size == above_.virtual_size()) return done;
  }
}

ChunkResult CommitCopier::Estimate(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(offset + length, size_);
  return offset < end ? down_.Estimate(offset, end - offset) : 0;
}

}  // namespace chainfs::jobs
