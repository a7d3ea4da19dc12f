// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/reclaimer.h"

#include <algorithm>
#include <utility>

#include "blocklayer/chain/stack_registry.h"

namespace chainfs::jobs {
namespace {

// So much, of the disk, is there twice at most, for a few flushes.
constexpr uint64_t kReclaimedAtOnce = 64 << 20;
// A dereference durable, the clusters free, that durable too.
constexpr int kReclaimFlushes = 4;

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
  CHAINFS_TRY(Reclaim(ranges));
  for (const LayerPtr& layer : plan_.merged) {
    WritableImage& image = *layer->image->writer();
    for (int i = 0; i < kReclaimFlushes && image.HasPending(); ++i) CHAINFS_TRY(image.Flush());
  }
  return {};
}

// What is not reclaimed because of an error stays there twice, which does no harm.
Status Reclaimer::Reclaim(const std::vector<ChunkRange>& ranges) {
  if (ranges.empty()) return {};
  CHAINFS_TRY(plan_.base->image->writer()->Flush());
  for (auto layer = plan_.merged.rbegin(); layer != plan_.merged.rend(); ++layer) {
    CHAINFS_TRY(ReclaimIn(**layer, ranges));
  }
  return {};
}

Status Reclaimer::ReclaimIn(const Layer& layer, const std::vector<ChunkRange>& ranges) {
  WritableImage& image = *layer.image->writer();
  const uint64_t size = image.virtual_size();
  {
    const IoEpoch::Guard guard = image.io_epoch().Enter();
    for (const ChunkRange& range : ranges) {
      if (range.offset >= size) continue;
      const uint64_t length = std::min(range.length, size - range.offset);
      CHAINFS_TRY(image.Unpopulate(GuestOffset(range.offset), length));
    }
    for (const auto& stack : context_.stacks().StacksOf(layer)) {
      for (const ChunkRange& range : ranges) {
        stack->DropRegions(GuestOffset(range.offset), range.length);
      }
    }
  }
  return image.Flush();
}

}  // namespace chainfs::jobs
