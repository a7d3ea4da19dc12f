// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/cache/metadata_cache.h"

#include <algorithm>

namespace chainfs {

MetadataCache::MetadataCache(uint64_t limit_bytes) : limit_(limit_bytes), slices_(0, kShards) {
  MutexLock lock(charge_mu_);
  slices_.SetLimit(SliceLimit());
}

uint64_t MetadataCache::SliceLimit() const {
  const uint64_t left = limit_ > charged_ ? limit_ - charged_ : 0;
  return std::max<uint64_t>(left, uint64_t{2} * kMaxSliceBytes * kShards);
}

bool MetadataCache::Charge(uint64_t already_charged_by_image, uint64_t more) {
  const uint64_t limit = std::max(limit_, kLeastChargeable);
  if (already_charged_by_image + more > limit / 2) return false;
  MutexLock lock(charge_mu_);
  if (charged_ + more > limit) return false;
  charged_ += more;
  slices_.SetLimit(SliceLimit());
  return true;
}

void MetadataCache::Discharge(uint64_t bytes) {
  MutexLock lock(charge_mu_);
  charged_ -= bytes;
  slices_.SetLimit(SliceLimit());
}

Result<SlicePtr> MetadataCache::Get(uint64_t owner, HostOffset offset, uint32_t bytes,
                                    const Loader& load) {
  CHAINFS_ASSIGN(Kept kept, slices_.Get({owner, offset.value}, [&]() -> Result<Kept> {
    Kept made{.slice = std::make_shared<MetadataSlice>(bytes)};
    CHAINFS_TRY(load(made.slice->bytes()));
    return made;
  }));
  return std::move(kept.slice);
}

Result<SlicePtr> MetadataCache::PutZeroed(uint64_t owner, HostOffset offset, uint32_t bytes) {
  return Get(owner, offset, bytes, [](std::span<std::byte> out) -> Status {
    std::ranges::fill(out, std::byte{0});
    return {};
  });
}

void MetadataCache::Forget(uint64_t owner, HostOffset offset, uint64_t length,
                           uint32_t slice_bytes) {
  for (uint64_t done = 0; done < length; done += slice_bytes) {
    slices_.Forget({owner, offset.value + done});
  }
}

uint64_t MetadataCache::UsedBytes() const {
  const uint64_t slices = slices_.Count().used_bytes;
  MutexLock lock(charge_mu_);
  return charged_ + slices;
}

}  // namespace chainfs
