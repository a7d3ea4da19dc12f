// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/merge_down.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kSmallestRegion = 64 << 10;
// Regions are remembered one by one, however large the disk.
constexpr uint64_t kMostRegions = 1 << 20;
// Tries to get close to the end again, after the flush of much.
constexpr int kApproaches = 10;
constexpr uint64_t kRestChunk = 1 << 20;

// Regions hold whole clusters of all layers from base up.
uint64_t RegionSize(const Layers& layers, uint64_t size) {
  uint64_t region = std::max(kSmallestRegion, std::bit_ceil(DivRoundUp(size, kMostRegions)));
  for (const LayerPtr& layer : layers) {
    region = std::max<uint64_t>(region, layer->image->cluster_size());
  }
  return region;
}

class MergeTap final : public WriteTap {
 public:
  MergeTap(MergeSource& source, std::string disk, uint64_t size)
      : source_(source), disk_(std::move(disk)), size_(size) {}

  Status BeforeChange(GuestOffset offset, uint64_t length) override {
    if (offset.value + length > size_) {
      return Fail(ErrorKind::kBusy,
                  EscapeText(fmt::format("{}: cannot grow while a job merges its layers; resize it "
                                         "when the job has ended",
                                         disk_)));
    }
    source_.WaitBeforeChange();
    return {};
  }
  void AfterChange(GuestOffset offset, uint64_t length) noexcept override {
    source_.Mark(offset.value, length);
  }

 private:
  MergeSource& source_;
  const std::string disk_;
  const uint64_t size_;
};

}  // namespace

Result<std::unique_ptr<MergeDown>> MergeDown::Make(Catalog& catalog, DiskPtr disk,
                                                   const LayerPtr& base,
                                                   std::optional<ImageCompression> compression) {
  const Layers layers = disk->chain()->AllLayers();
  const auto at = std::ranges::find(layers, base);
  if (at == layers.begin() || at == layers.end()) {
    return Fail(ErrorKind::kStale, EscapeText(fmt::format("{}: {} is not below its active layer",
                                                          disk->name(), base->path)));
  }
  std::shared_ptr<const LayerStack> below;
  if (at + 1 != layers.end()) {
    CHAINFS_ASSIGN(below, LayerStack::Make(Layers(at + 1, layers.end()), catalog.context()));
  }
  return std::unique_ptr<MergeDown>(new MergeDown(
      catalog, std::move(disk), Layers(layers.begin(), at + 1), std::move(below), compression));
}

MergeDown::MergeDown(Catalog& catalog, DiskPtr disk, const Layers& layers,
                     std::shared_ptr<const LayerStack> below,
                     std::optional<ImageCompression> compression)
    : catalog_(catalog),
      disk_(std::move(disk)),
      top_(layers.front()),
      base_(layers.back()),
      size_(top_->image->virtual_size()),
      unit_(RegionSize(layers, size_)),
      disk_source_(disk_, catalog.context()),
      source_(size_, unit_),
      copier_(catalog.context(), disk_source_, static_cast<uint32_t>(layers.size() - 1), base_,
              std::move(below), compression) {}

Status MergeDown::Prepare() {
  CHAINFS_ASSIGN(LayerLease lease, catalog_.leases().Take(base_, LeaseKind::kCommitBase));
  lease_.emplace(std::move(lease));
  return {};
}

Status MergeDown::Begin() {
  if (tap_ != nullptr) return {};
  auto tap = std::make_shared<MergeTap>(source_, disk_->name(), size_);
  disk_->AddTap(tap);
  tap_ = std::move(tap);
  Status begun = CheckUnchanged();
  if (begun) begun = copier_.EnlargeBase(size_);
  if (!begun) {
    StopListening();
    return begun;
  }
  source_.Mark(0, size_);
  return {};
}

Status MergeDown::CheckUnchanged() const {
  const ChainPtr chain = disk_->chain();
  if (chain->active == top_ && chain->size() == size_) return {};
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: its active layer has changed meanwhile; try again",
                                     disk_->name())));
}

ChunkResult MergeDown::Process(uint64_t offset, uint64_t length) {
  const MergeSource::Copying copying(source_, length);
  return copier_.Process(offset, length);
}

Status MergeDown::CopyRest() {
  while (const std::optional<ChunkRange> chunk = source_.TakeAny(kRestChunk)) {
    ChunkResult done = Process(chunk->offset, chunk->length);
    source_.Finished(*chunk);
    if (done) continue;
    source_.Mark(chunk->offset, chunk->length);
    return std::unexpected(std::move(done).error().error);
  }
  return Settle();
}

Result<LeftOutLayers> MergeDown::Finish(const std::string& job, bool remove, bool anywhere) {
  for (int i = 0; i < kApproaches && !source_.Close(); ++i) CHAINFS_TRY(CopyRest());
  CHAINFS_TRY(CheckUnchanged());
  copier_.ForgetAllPlaces();
  const IoEpoch::Guard guard = base_->image->io_epoch().Enter();  // CHN-16
  return catalog_.moves().ContinueOn(disk_, {.to = base_,
                                             .target = nullptr,
                                             .last_round = [this] { return LastRound(); },
                                             .remove_left = remove,
                                             .anywhere = anywhere,
                                             .job = job});
}

// No write of the disk is under way, so nothing is marked meanwhile.
Status MergeDown::LastRound() {
  CHAINFS_SYNC_POINT("MergeDown.LastRound.writes-held");
  CHAINFS_TRY(CheckUnchanged());
  return CopyRest();
}

void MergeDown::StopListening() {
  if (tap_ != nullptr) disk_->RemoveTap(*tap_);
  tap_.reset();
}

void MergeDown::Release() {
  StopListening();
  lease_.reset();
}

}  // namespace chainfs::jobs
