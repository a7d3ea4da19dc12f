// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/merge_copier.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/chain/stack_registry.h"

namespace chainfs::jobs {

MergeCopier::MergeCopier(BlockContext& context, const CopySource& source, uint32_t layers,
                         LayerPtr base, std::shared_ptr<const LayerStack> below)
    : context_(context),
      source_(source),
      layers_(layers),
      base_(std::move(base)),
      below_(std::move(below)),
      sink_(*base_->image->writer(), below_),
      copier_(source, sink_, {.layers = layers}) {}

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

Result<bool> MergeCopier::MayFree(uint64_t offset, uint64_t length) const {
  Image& image = *base_->image;
  if (image.format() == ImageFormat::kRaw) return false;  // a byte of it has one place
  for (uint64_t at = offset; at < offset + length;) {
    CHAINFS_ASSIGN(const Extent extent,
                   image.Map(GuestOffset(at), offset + length - at, MapDetail::kFast));
    if (extent.kind == ExtentKind::kData || extent.kind == ExtentKind::kCompressed) return true;
    at += extent.length;
  }
  return false;
}

void MergeCopier::ForgetPlaces(uint64_t offset, uint64_t length) const {
  for (const auto& stack : context_.stacks().StacksOf(*base_)) {
    stack->DropRegions(GuestOffset(offset), length);
  }
}

ChunkResult MergeCopier::Process(uint64_t offset, uint64_t length) {
  const Result<bool> may_free = MayFree(offset, length);
  if (!may_free) return std::unexpected(ChunkFailure{may_free.error(), false});
  const IoEpoch::Guard guard = base_->image->io_epoch().Enter();
  const uint64_t cluster = base_->image->cluster_size();
  const uint64_t end = offset + length;
  const uint64_t whole_end =
      end < base_->image->virtual_size() ? std::max(offset, RoundDown(end, cluster)) : end;
  ChunkResult done = 0;
  if (whole_end > offset) done = copier_.Process(offset, whole_end - offset);
  if (done && end > whole_end) {
    const ChunkResult rest = ProcessEnd(whole_end, end - whole_end);
    done = rest ? *done + *rest : rest;
  }
  if (*may_free) ForgetPlaces(offset, length);
  return done;
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
  Status written = sink_.Write(GuestOffset(offset), data);
  if (!written) return std::unexpected(ChunkFailure{std::move(written).error(), true});
  return length;
}

}  // namespace chainfs::jobs
