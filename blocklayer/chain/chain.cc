// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/chain.h"

#include <algorithm>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/chain/extent_reader.h"

namespace chainfs {
namespace {

// What was within the image when an attempt began may lie past its end when it is mapped; then it
// is made again. How often is bounded by the cuts: an image refuses nothing else so.
template <typename Attempt>
auto BesideCuts(Image& image, const Attempt& attempt) {
  for (;;) {
    const uint64_t cuts = image.cuts().Get();
    auto result = attempt();
    if (result || result.error().kind != ErrorKind::kInvalidArgument ||
        !image.cuts().AnySince(cuts)) {
      return result;
    }
  }
}

}  // namespace

Result<std::shared_ptr<Chain>> Chain::Make(Layers layers, BlockContext& context) {
  auto chain = std::make_shared<Chain>();
  chain->active = layers.front();
  layers.erase(layers.begin());
  if (!layers.empty()) {
    CHAINFS_ASSIGN(chain->below, LayerStack::Make(std::move(layers), context));
  }
  return chain;
}

Layers Chain::AllLayers() const {
  Layers layers;
  layers.reserve(depth());
  layers.push_back(active);
  if (below) layers.insert(layers.end(), below->layers().begin(), below->layers().end());
  return layers;
}

Result<uint64_t> Chain::AllocatedBytes() const {
  CHAINFS_ASSIGN(uint64_t bytes, active->image->AllocatedBytes());
  if (!below) return bytes;
  for (const LayerPtr& layer : below->layers()) {
    CHAINFS_ASSIGN(const uint64_t more, layer->image->AllocatedBytes());
    bytes += more;
  }
  return bytes;
}

uint64_t Chain::LongestBelow() const {
  uint64_t longest = 0;
  if (!below) return longest;
  for (const LayerPtr& layer : below->layers()) {
    longest = std::max(longest, layer->image->virtual_size());
  }
  return longest;
}

Result<size_t> Chain::Read(DecodedCache& decoded, GuestOffset offset,
                           std::span<std::byte> out) const {
  return BesideCuts(*active->image, [&] { return ReadOnce(decoded, offset, out); });
}

Result<StackExtent> Chain::Map(GuestOffset offset, uint64_t length, MapDetail detail) const {
  return BesideCuts(*active->image, [&] { return MapOnce(offset, length, detail); });
}

Result<size_t> Chain::ReadOnce(DecodedCache& decoded, GuestOffset offset,
                               std::span<std::byte> out) const {
  Image& image = *active->image;
  const uint64_t end = image.virtual_size();
  if (offset.value >= end) return 0;
  out = out.first(std::min<uint64_t>(out.size(), end - offset.value));
  const size_t total = out.size();
  CHAINFS_SYNC_POINT("Chain.ReadOnce.size-known");

  const IoEpoch::Guard guard = image.io_epoch().Enter();
  ExtentReader reader(decoded);
  while (!out.empty()) {
    CHAINFS_ASSIGN(const Extent extent, image.Map(offset, out.size(), MapDetail::kFast));
    const std::span<std::byte> piece = out.first(std::min<uint64_t>(out.size(), extent.length));
    if (extent.kind == ExtentKind::kUnallocated && below) {
      CHAINFS_TRY(below->ReadBelow(offset, piece));
    } else {
      CHAINFS_TRY(reader.Add(*active, extent, offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  CHAINFS_TRY(reader.Finish());
  return total;
}

Result<StackExtent> Chain::MapOnce(GuestOffset offset, uint64_t length, MapDetail detail) const {
  Image& image = *active->image;
  const uint64_t end = image.virtual_size();
  if (offset.value >= end) return StackExtent();
  length = std::min(length, end - offset.value);
  CHAINFS_SYNC_POINT("Chain.MapOnce.size-known");
  const IoEpoch::Guard guard = image.io_epoch().Enter();
  CHAINFS_ASSIGN(const Extent extent, image.Map(offset, length, detail));
  if (extent.kind == ExtentKind::kUnallocated && below) {
    CHAINFS_ASSIGN(StackExtent found, below->Map(offset, extent.length, detail));
    if (found.kind != ExtentKind::kUnallocated) ++found.layer;
    return found;
  }
  return StackExtent{.kind = extent.kind,
                     .length = extent.length,
                     .layer = 0,
                     .host = extent.host,
                     .compressed_bytes = extent.compressed_bytes,
                     .source = extent.source};
}

}  // namespace chainfs
