// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/merge_copier.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/chain/stack_registry.h"
#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {

MergeCopier::MergeCopier(BlockContext& context, const CopySource& source, uint32_t layers,
                         LayerPtr base, std::shared_ptr<const LayerStack> below,
                         std::optional<ImageCompression> compression)
    : context_(context),
      source_(source),
      layers_(layers),
      base_(std::move(base)),
      below_(std::move(below)),
      end_sink_(*base_->image->writer(), below_),
      sink_(WithCompression(std::make_unique<OverwriteSink>(*base_->image->writer(), below_),
                            *base_->image->writer(), compression)),
      copier_(source, *sink_, {.layers = layers}) {}

Status MergeCopier::EnlargeBase(uint64_t size) {
  WritableImage& base = *base_->image->writer();
  const uint64_t old_size = base.virtual_size();
  if (size <= old_size) return {};
  uint64_t longest = 0;
  for (const LayerPtr& layer : below_ ? below_->layers() : Layers()) {
    longest = std::max(longest, layer->image->virtual_size());
  }
  CHAINFS_TRY(base.Grow(size, below_.get(), longest));
  ForgetPlaces(RoundDown(old_size, base.cluster_size()), UINT64_MAX);
  return {};
}

Result<std::vector<MergeCopier::Place>> MergeCopier::PlacesOf(uint64_t offset,
                                                              uint64_t length) const {
  std::vector<Place> places;
  Image& image = *base_->image;
  if (image.format() == ImageFormat::kRaw) return places;
  const uint64_t end = offset + length;
  for (uint64_t at = offset; at < end;) {
    CHAINFS_ASSIGN(const Extent extent, image.Map(GuestOffset(at), end - at, MapDetail::kFast));
    const uint64_t stop = at + std::min(extent.length, end - at);
    const bool compressed = extent.kind == ExtentKind::kCompressed;
    if (compressed || extent.kind == ExtentKind::kData) {
      places.push_back({at, stop, extent.host, compressed});
    }
    at = stop;
  }
  return places;
}

bool MergeCopier::AreThere(const std::vector<Place>& places) const {
  Image& image = *base_->image;
  return std::ranges::all_of(places, [&](const Place& place) {
    if (place.moves) return false;
    for (uint64_t at = place.begin; at < place.end;) {
      const Result<Extent> extent = image.Map(GuestOffset(at), place.end - at, MapDetail::kFast);
      const bool there = extent && extent->kind == ExtentKind::kData &&
                         extent->host == place.host + (at - place.begin);
      if (!there) return false;
      at += extent->length;
    }
    return true;
  });
}

void MergeCopier::ForgetPlaces(uint64_t offset, uint64_t length) const {
  for (const auto& stack : context_.stacks().StacksOf(*base_)) {
    stack->DropRegions(GuestOffset(offset), length);
  }
}

ChunkResult MergeCopier::Process(uint64_t offset, uint64_t length) {
  const Result<std::vector<Place>> places = PlacesOf(offset, length);
  if (!places) return std::unexpected(ChunkFailure{places.error(), false});
  const IoEpoch::Guard guard = base_->image->io_epoch().Enter();
  ChunkResult done = Copy(offset, length);
  // Forgetting waits for readers, so it is done only where something has moved or gone.
  if (!AreThere(*places)) ForgetPlaces(offset, length);
  return done;
}

ChunkResult MergeCopier::Copy(uint64_t offset, uint64_t length) {
  const uint64_t cluster = base_->image->cluster_size();
  const uint64_t end = offset + length;
  const uint64_t whole_end =
      end < base_->image->virtual_size() ? std::max(offset, RoundDown(end, cluster)) : end;
  ChunkResult done = 0;
  if (whole_end > offset) done = copier_.Process(offset, whole_end - offset);
  if (!done || end == whole_end) return done;
  const ChunkResult rest = ProcessEnd(whole_end, end - whole_end);
  return rest ? *done + *rest : rest;
}

ChunkResult MergeCopier::ProcessEnd(uint64_t offset, uint64_t length) {
  std::vector<std::byte> data(length);
  {
    const std::unique_ptr<CopySource::View> view = source_.EnterReading();
    bool owned = false;
    for (uint64_t at = 0; at < length && !owned;) {
      const Result<StackExtent> extent = view->Map(GuestOffset(offset + at), length - at);
      if (!extent) return std::unexpected(ChunkFailure{extent.error(), false});
      owned = extent->kind != ExtentKind::kUnallocated && extent->layer < layers_;
      at += extent->length;
    }
    if (!owned) return 0;
    Status read = view->Read(GuestOffset(offset), data);
    if (!read) return std::unexpected(ChunkFailure{std::move(read).error(), false});
  }
  Status written = end_sink_.Write(GuestOffset(offset), data);
  if (!written) return std::unexpected(ChunkFailure{std::move(written).error(), true});
  return length;
}

}  // namespace chainfs::jobs
