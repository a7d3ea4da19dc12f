// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/active_reclaimer.h"

#include <algorithm>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/chain/chain_switch.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs::jobs {
namespace {

// So much, of the disk, is there twice at most, for a few flushes.
constexpr uint64_t kMovedAtOnce = 64 << 20;
// Guests' writes wait while the metadata of so much changes.
constexpr uint64_t kHeldAtOnce = 16 << 20;

Layers Between(const CommitPlan& plan) { return {plan.merged.begin() + 1, plan.merged.end()}; }

}  // namespace

// Whether a write has changed anything or not, it may have.
class ActiveReclaimer::Tap final : public WriteTap {
 public:
  explicit Tap(ActiveReclaimer& reclaimer) : reclaimer_(reclaimer) {}

  void AfterChange(GuestOffset offset, uint64_t length) noexcept override {
    reclaimer_.SetAll(offset.value, length, State::kHere);
  }

 private:
  ActiveReclaimer& reclaimer_;
};

ActiveReclaimer::ActiveReclaimer(BlockContext& context, DiskPtr disk, const CommitPlan& plan,
                                 uint64_t region)
    : context_(context),
      disk_(std::move(disk)),
      top_(plan.top),
      base_(plan.base),
      size_(top_->image->virtual_size()),
      region_(region),
      below_(context, plan.base, Between(plan)),
      states_(DivRoundUp(size_, region)) {}

void ActiveReclaimer::Listen() {
  if (tap_ != nullptr) return;
  auto tap = std::make_shared<Tap>(*this);
  disk_->AddTap(tap);
  tap_ = std::move(tap);
}

void ActiveReclaimer::StopListening() {
  if (tap_ != nullptr) disk_->RemoveTap(*tap_);
  tap_.reset();
}

void ActiveReclaimer::SetAll(uint64_t offset, uint64_t length, State state) noexcept {
  const MutexLock lock(mu_);
  const uint64_t end = std::min<uint64_t>(DivRoundUp(offset + length, region_), states_.size());
  for (uint64_t i = offset / region_; i < end; ++i) states_[i] = state;
}

void ActiveReclaimer::Copies(uint64_t offset, uint64_t length) {
  SetAll(offset, length, State::kBeingCopied);
}

Status ActiveReclaimer::Copied(uint64_t offset, uint64_t length) {
  {
    const MutexLock lock(mu_);
    const uint64_t end = std::min<uint64_t>(DivRoundUp(offset + length, region_), states_.size());
    for (uint64_t i = offset / region_; i < end; ++i) {
      if (states_[i] == State::kBeingCopied) states_[i] = State::kMoved;
    }
    moved_ += length;
    if (moved_ < kMovedAtOnce) return {};
    moved_ = 0;
  }
  return ReclaimAll();
}

std::vector<ChunkRange> ActiveReclaimer::BeginSettling() {
  std::vector<ChunkRange> ranges;
  const MutexLock lock(mu_);
  for (uint64_t i = 0; i < states_.size(); ++i) {
    if (states_[i] != State::kMoved) continue;
    states_[i] = State::kSettling;
    const uint64_t offset = i * region_;
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset) {
      ranges.back().length += region_;
    } else {
      ranges.push_back({offset, region_});
    }
  }
  return ranges;
}

void ActiveReclaimer::EndSettling() {
  const MutexLock lock(mu_);
  std::ranges::replace(states_, State::kSettling, State::kMoved);
}

std::vector<ChunkRange> ActiveReclaimer::TakeSettled(const ChunkRange& range) {
  std::vector<ChunkRange> ranges;
  const MutexLock lock(mu_);
  const uint64_t end = (range.offset + range.length) / region_;
  for (uint64_t i = range.offset / region_; i < end; ++i) {
    if (states_[i] != State::kSettling) continue;
    states_[i] = State::kHere;
    ranges.push_back({i * region_, region_});
  }
  return ranges;
}

Status ActiveReclaimer::ReclaimAll() {
  if (reclaims_.exchange(true)) return {};
  const std::vector<ChunkRange> ranges = BeginSettling();
  Status reclaimed = ranges.empty() ? Status() : ReclaimNow(ranges);
  EndSettling();
  reclaims_.store(false);
  return reclaimed;
}

Status ActiveReclaimer::ReclaimNow(const std::vector<ChunkRange>& ranges) {
  CHAINFS_TRY(below_.Reclaim(ranges));
  // They may remember what base had there before. Base does not change there any more, as long as
  // the range is settling.
  ForgetInStacks(context_, *base_, ranges);
  CHAINFS_SYNC_POINT("ActiveReclaimer.ReclaimNow.forgotten");
  const uint64_t step = std::max(RoundDown(kHeldAtOnce, region_), region_);
  for (const ChunkRange& range : ranges) {
    for (uint64_t at = 0; at < range.length; at += step) {
      CHAINFS_TRY(ReclaimInTop({range.offset + at, std::min(step, range.length - at)}));
    }
  }
  return FlushUntilGivenBack(*top_->image->writer());
}

Status ActiveReclaimer::ReclaimInTop(const ChunkRange& range) {
  const ChainSwitch quiet(*disk_);
  // What it goes on with is not what was copied from.
  if (disk_->chain()->active != top_) return {};
  for (const ChunkRange& settled : TakeSettled(range)) {
    CHAINFS_TRY(UnpopulateBefore(*top_->image->writer(), settled, below_.end()));
  }
  return {};
}

}  // namespace chainfs::jobs
