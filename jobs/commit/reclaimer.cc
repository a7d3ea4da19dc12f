// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/reclaimer.h"

#include <algorithm>
#include <utility>

#include "blocklayer/chain/layer_stack.h"
#include "blocklayer/chain/stack_registry.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs::jobs {
namespace {

// So much, of the disk, is there twice at most, for a few flushes.
constexpr uint64_t kReclaimedAtOnce = 64 << 20;
// A dereference durable, the clusters free, that durable too.
constexpr int kFlushesToGiveBack = 4;

}  // namespace

Status Reclaimer::Copied(uint64_t offset, uint64_t length) {
  std::vector<ChunkRange> ranges;
  {
    const MutexLock lock(mu_);
    copied_.push_back({offset, length});
    bytes_ += length;
    if (bytes_ < kReclaimedAtOnce) return {};
    ranges = std::exchange(copied_, {});
    bytes_ = 0;
  }
  return Reclaim(ranges);
}

Status Reclaimer::ReclaimAll() {
  std::vector<ChunkRange> ranges;
  {
    const MutexLock lock(mu_);
    ranges = std::exchange(copied_, {});
    bytes_ = 0;
  }
  if (ranges.empty()) return {};
  CHAINFS_TRY(Reclaim(ranges));
  for (const LayerPtr& layer : merged_) {
    WritableImage& image = *layer->image->writer();
    if (image.HasPending()) CHAINFS_TRY(FlushUntilGivenBack(image));
  }
  return {};
}

// What is not reclaimed because of an error stays there twice, which does no harm.
Status Reclaimer::Reclaim(const std::vector<ChunkRange>& ranges) {
  CHAINFS_TRY(base_->image->writer()->Flush());
  uint64_t end = UINT64_MAX;
  for (auto layer = merged_.rbegin(); layer != merged_.rend(); ++layer) {
    end = std::min(end, (*layer)->image->virtual_size());
    CHAINFS_TRY(ReclaimIn(**layer, ranges, end));
  }
  return {};
}

uint64_t Reclaimer::end() const {
  uint64_t end = UINT64_MAX;
  for (const LayerPtr& layer : merged_) end = std::min(end, layer->image->virtual_size());
  return end;
}

Status Reclaimer::ReclaimIn(const Layer& layer, const std::vector<ChunkRange>& ranges,
                            uint64_t end) {
  WritableImage& image = *layer.image->writer();
  {
    const IoEpoch::Guard guard = image.io_epoch().Enter();
    for (const ChunkRange& range : ranges) {
      CHAINFS_TRY(UnpopulateBefore(image, range, end));
    }
    ForgetInStacks(context_, layer, ranges);
  }
  return image.Flush();
}

Status FlushUntilGivenBack(WritableImage& image) {
  for (int i = 0; i < kFlushesToGiveBack && (i == 0 || image.HasPending()); ++i) {
    CHAINFS_TRY(image.Flush());
  }
  return {};
}

void ForgetInStacks(BlockContext& context, const Layer& layer,
                    const std::vector<ChunkRange>& ranges) {
  for (const auto& stack : context.stacks().StacksOf(layer)) {
    for (const ChunkRange& range : ranges) {
      stack->DropRegions(GuestOffset(range.offset), range.length);
    }
  }
}

Status UnpopulateBefore(WritableImage& image, const ChunkRange& range, uint64_t end) {
  const uint64_t size = image.virtual_size();
  const uint64_t stop = std::min(range.offset + range.length,
                                 end < size ? RoundDown(end, image.cluster_size()) : size);
  if (range.offset >= stop) return {};
  return image.Unpopulate(GuestOffset(range.offset), stop - range.offset);
}

}  // namespace chainfs::jobs
