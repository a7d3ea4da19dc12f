// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_copy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {
namespace {

// Copying whole clusters never asks what lies below, but for what is past the end of the disk. But
// what is built on something must hold explicit zeros.
class NothingBelow final : public BackingReader {
 public:
  Status ReadBelow(GuestOffset /*offset*/, std::span<std::byte> out) const override {
    std::ranges::fill(out, std::byte{0});
    return {};
  }
};

uint64_t UnitOf(const WritableImage& image) {
  constexpr uint64_t kSmallest = 4096;
  constexpr uint64_t kMostUnits = 1 << 21;  // so that what is kept of each is little
  const uint64_t coarse = std::bit_ceil(DivRoundUp(image.virtual_size(), kMostUnits) | 1);
  return std::max({uint64_t{image.cluster_size()}, kSmallest, coarse});
}

std::unique_ptr<CopySink> SinkTo(const Layers& target) {
  return std::make_unique<OverwriteSink>(
      *target.front()->image->writer(),
      target.size() > 1 ? std::make_shared<NothingBelow>() : nullptr);
}

}  // namespace

MirrorCopy::MirrorCopy(DiskPtr disk, BlockContext& context, Layers target, bool above_common,
                       std::optional<ImageCompression> compression)
    : disk_(std::move(disk)),
      target_(std::move(target)),
      image_(*target_.front()->image->writer()),
      above_common_(above_common),
      unit_(UnitOf(image_)),
      source_(disk_, context),
      sink_(SinkTo(target_)),
      packing_sink_(compression ? WithCompression(SinkTo(target_), image_, compression) : nullptr) {
}

uint32_t MirrorCopy::LayersToCopy(const Chain& chain) const {
  if (!above_common_ || target_.size() == 1) return CopySelection::kAllLayers;
  const Layers layers = chain.AllLayers();
  const auto common = std::ranges::find(layers, target_[1]);
  return common == layers.end() ? CopySelection::kAllLayers
                                : static_cast<uint32_t>(common - layers.begin());
}

std::shared_ptr<RangeCopier> MirrorCopy::CopierFor(const Chain& chain, bool first) {
  const MutexLock lock(mu_);
  if (copier_ == nullptr || generation_ != chain.generation) {
    const CopySelection selection{.layers = LayersToCopy(chain),
                                  .zeros_until = CopySelection::kEverywhere};
    copier_ = std::make_shared<RangeCopier>(source_, *sink_, selection);
    if (packing_sink_) packer_ = std::make_shared<RangeCopier>(source_, *packing_sink_, selection);
    generation_ = chain.generation;
  }
  return first && packer_ != nullptr ? packer_ : copier_;
}

ChunkResult MirrorCopy::Copy(uint64_t offset, uint64_t length, bool first) {
  const RangeLock::Holder held(ranges_, GuestOffset(offset), length);
  for (;;) {
    const ChainPtr chain = disk_->chain();
    const std::shared_ptr<RangeCopier> copier = CopierFor(*chain, first);
    const uint64_t end = offset + length;
    const uint64_t stop = end >= chain->size() ? image_.virtual_size() : end;
    ChunkResult done = copier->Process(offset, stop - offset);
    // Which layers are to be copied may be others by now.
    if (disk_->chain()->generation == chain->generation) return done;
  }
}

}  // namespace chainfs::jobs
