// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/layer_stack.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "blocklayer/chain/extent_reader.h"
#include "blocklayer/chain/stack_registry.h"

namespace chainfs {
namespace {

StackExtent ToStackExtent(const Extent& extent, uint32_t layer, uint64_t length) {
  return {.kind = extent.kind,
          .length = length,
          .layer = layer,
          .host = extent.host,
          .compressed_bytes = extent.compressed_bytes,
          .source = extent.source};
}

// Whether `next` goes on where `extent` ends, as one extent.
bool Continues(const StackExtent& extent, const StackExtent& next) {
  if (next.kind != extent.kind) return false;
  switch (extent.kind) {
    case ExtentKind::kUnallocated:
      return true;
    case ExtentKind::kZero:
      return next.layer == extent.layer;
    case ExtentKind::kData:
      return next.layer == extent.layer && next.source == extent.source &&
             next.host == extent.host + extent.length;
    case ExtentKind::kCompressed:
      return false;
  }
  return false;
}

}  // namespace

Result<std::shared_ptr<const LayerStack>> LayerStack::Make(Layers layers, BlockContext& context) {
  if (std::shared_ptr<const LayerStack> known = context.stacks().Find(layers)) return known;
  // Made and, if somebody was faster, destroyed with the registry unlocked: the destructor needs
  // it.
  const std::shared_ptr<LayerStack> stack(new LayerStack(std::move(layers), context));
  CHAINFS_ASSIGN(std::shared_ptr<const LayerStack> known,
                 context.stacks().Add(stack->layers(), stack));
  stack->counted_ = known == stack;
  return known;
}

LayerStack::LayerStack(Layers layers, BlockContext& context)
    : layers_(std::move(layers)),
      sources_(layers_),
      context_(context),
      owner_id_(context.index().NewOwner()) {}

uint64_t LayerStack::size() const {
  return RoundDown(layers_.front()->image->virtual_size(), FlatRegion::kSectorSize);
}

LayerStack::~LayerStack() {
  if (counted_) context_.stacks().Forget(*this);
  context_.index().DropOwner(owner_id_, size());
}

Result<FlatRegion> LayerStack::RegionAt(GuestOffset offset) const {
  return context_.index().Get(owner_id_, layers_, sources_, size(),
                              offset.value / FlatRegion::kBytes);
}

void LayerStack::WaitForReaders() const {
  constexpr std::chrono::microseconds kPause(100);
  const uint64_t began = readers_.epoch();
  while (readers_.epoch() < began + 2) {
    if (!readers_.TryAdvance()) std::this_thread::sleep_for(kPause);
  }
}

// One who reads already may have asked a layer before it changed, and keep what it makes of that
// after the region was forgotten. After the first round no such reader is left, and what they kept
// is forgotten by the second, which waits for those who found it.
void LayerStack::DropRegions(GuestOffset offset, uint64_t length) const {
  const uint64_t size = this->size();
  if (length == 0 || offset.value >= size) return;
  const uint64_t last = offset.value + std::min(length, size - offset.value) - 1;
  const MutexLock lock(drop_mu_);
  for (int round = 0; round < 2; ++round) {
    context_.index().Forget(owner_id_, offset.value / FlatRegion::kBytes,
                            last / FlatRegion::kBytes + 1);
    WaitForReaders();
  }
}

Result<StackExtent> LayerStack::MapDirectly(GuestOffset offset, uint64_t length) const {
  length = std::min(length, size() - offset.value);
  for (uint32_t i = 0; i < layers_.size(); ++i) {
    Image& image = *layers_[i]->image;
    const uint64_t size = image.virtual_size();
    if (offset.value >= size) {
      return StackExtent{.kind = ExtentKind::kZero, .length = length, .layer = i};
    }
    length = std::min(length, size - offset.value);
    CHAINFS_ASSIGN(const Extent extent, image.Map(offset, length, MapDetail::kPrecise));
    length = std::min(length, extent.length);
    if (extent.kind != ExtentKind::kUnallocated) return ToStackExtent(extent, i, length);
  }
  return StackExtent{.kind = ExtentKind::kUnallocated, .length = length};
}

void LayerStack::Extend(StackExtent& extent, GuestOffset offset, uint64_t length) const {
  const GuestOffset next = offset + extent.length;
  // For less than a region it is not worth asking every layer.
  if (next.value >= size() || length - extent.length < FlatRegion::kBytes ||
      extent.kind == ExtentKind::kCompressed) {
    return;
  }
  const Result<StackExtent> following = MapDirectly(next, length - extent.length);
  // A failure is reported to who asks for that place.
  if (following && Continues(extent, *following)) extent.length += following->length;
}

Result<StackExtent> LayerStack::Map(GuestOffset offset, uint64_t length,
                                    MapDetail /*detail*/) const {
  const uint64_t size = this->size();
  if (offset.value >= size) return StackExtent{.kind = ExtentKind::kZero, .length = length};
  length = std::min(length, size - offset.value);
  const IoEpoch::Guard guard = readers_.Enter();
  const Result<FlatRegion> region = RegionAt(offset);
  const uint64_t within = offset.Within(FlatRegion::kBytes);
  // One that ends early is older than the stack's growth.
  if (!region || within >= region->EndByte()) return MapDirectly(offset, length);
  const uint32_t run = region->Find(within);
  Extent found = region->ExtentAt(run, within);
  const StackSources::Source& source = sources_[region->run(run).source()];
  found.source = source.number;
  StackExtent extent = ToStackExtent(found, source.layer, std::min(length, found.length));
  if (within + extent.length == region->EndByte()) Extend(extent, offset, length);
  return extent;
}

Status LayerStack::ReadDirectly(GuestOffset offset, std::span<std::byte> out) const {
  ExtentReader reader(context_.decoded());
  while (!out.empty()) {
    CHAINFS_ASSIGN(const StackExtent found, MapDirectly(offset, out.size()));
    const Extent extent{.kind = found.kind,
                        .length = found.length,
                        .host = found.host,
                        .compressed_bytes = found.compressed_bytes,
                        .source = found.source};
    CHAINFS_TRY(reader.Add(*layers_[found.layer], extent, offset, out.first(found.length)));
    offset += found.length;
    out = out.subspan(found.length);
  }
  return reader.Finish();
}

Status LayerStack::ReadBelow(GuestOffset offset, std::span<std::byte> out) const {
  const uint64_t size = this->size();
  const uint64_t shown =
      offset.value < size ? std::min<uint64_t>(out.size(), size - offset.value) : 0;
  if (shown < out.size()) std::memset(out.data() + shown, 0, out.size() - shown);
  out = out.first(shown);

  const IoEpoch::Guard guard = readers_.Enter();
  ExtentReader reader(context_.decoded());
  while (!out.empty()) {
    const Result<FlatRegion> region = RegionAt(offset);
    uint64_t within = offset.Within(FlatRegion::kBytes);
    uint64_t share = std::min<uint64_t>(out.size(), FlatRegion::kBytes - within);
    if (!region || within >= region->EndByte()) {
      CHAINFS_TRY(ReadDirectly(offset, out.first(share)));
      offset += share;
      out = out.subspan(share);
      continue;
    }
    share = std::min(share, region->EndByte() - within);
    for (uint32_t run = region->Find(within); share > 0; ++run) {
      Extent extent = region->ExtentAt(run, within);
      const uint64_t piece = std::min(share, extent.length);
      const StackSources::Source& source = sources_[region->run(run).source()];
      extent.source = source.number;
      CHAINFS_TRY(extent.kind == ExtentKind::kData
                      ? reader.AddData(*source.bytes, extent.host, out.first(piece))
                      : reader.Add(*layers_[source.layer], extent, offset, out.first(piece)));
      offset += piece;
      out = out.subspan(piece);
      within += piece;
      share -= piece;
    }
  }
  return reader.Finish();
}

}  // namespace chainfs
