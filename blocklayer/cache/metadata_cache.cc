// SPDX-License-Identifier: Apache-2.0
//
// Sixteen shards, each a hash map and an LRU list under one mutex. An entry is either ready (has a
// slice) or loading (one thread reads; the others wait on the shard's condition variable). A slice
// that somebody else holds (use_count > 1) is never evicted: its owner may have changed it.
#include "blocklayer/cache/metadata_cache.h"

#include <algorithm>

namespace chainfs {
namespace {

// What one entry costs beyond its bytes: map node, list node, vector and control block.
constexpr uint64_t kEntryOverhead = 200;

}  // namespace

struct MetadataCache::Shard {
  struct LruKey {
    uint64_t owner;
    uint64_t offset;
  };
  struct Entry {
    SlicePtr slice;  // null while loading
    uint32_t bytes = 0;
    std::list<LruKey>::iterator lru;  // valid when slice is set
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return HashOf(key); }
  };

  mutable Mutex mu;
  CondVar loaded;
  std::unordered_map<Key, Entry, KeyHash> entries GUARDED_BY(mu);
  std::list<LruKey> lru GUARDED_BY(mu);  // most recent first
  uint64_t used GUARDED_BY(mu) = 0;

  void Insert(const Key& key, SlicePtr slice, uint32_t bytes, uint64_t limit) REQUIRES(mu) {
    Entry& entry = entries[key];
    entry.slice = std::move(slice);
    entry.bytes = bytes;
    lru.push_front({key.owner, key.offset});
    entry.lru = lru.begin();
    used += bytes + kEntryOverhead;
    Evict(limit);
  }

  // Looks at each entry at most once from the cold end.
  void Evict(uint64_t limit) REQUIRES(mu) {
    size_t tries = lru.size();
    auto it = lru.end();
    while (used > limit && tries-- > 0 && it != lru.begin()) {
      --it;
      const auto found = entries.find(Key{it->owner, it->offset});
      if (found->second.slice.use_count() > 1) continue;
      used -= found->second.bytes + kEntryOverhead;
      entries.erase(found);
      it = lru.erase(it);
    }
  }
};

MetadataCache::MetadataCache(uint64_t limit_bytes)
    : limit_(limit_bytes), shards_(new Shard[kShards]) {}

MetadataCache::~MetadataCache() = default;

uint64_t MetadataCache::ShardLimit() const {
  const uint64_t charged = charged_.load(std::memory_order_relaxed);
  const uint64_t left = limit_ > charged ? limit_ - charged : 0;
  return std::max<uint64_t>(left / kShards, uint64_t{2} * kMaxSliceBytes);
}

bool MetadataCache::Charge(uint64_t already_charged_by_image, uint64_t more) {
  const uint64_t limit = std::max(limit_, kLeastChargeable);
  if (already_charged_by_image + more > limit / 2) return false;
  uint64_t charged = charged_.load(std::memory_order_relaxed);
  do {
    if (charged + more > limit) return false;
  } while (!charged_.compare_exchange_weak(charged, charged + more, std::memory_order_relaxed));
  return true;
}

void MetadataCache::Discharge(uint64_t bytes) {
  charged_.fetch_sub(bytes, std::memory_order_relaxed);
}

void MetadataCache::Forget(uint64_t owner, HostOffset offset, uint64_t length,
                           uint32_t slice_bytes) {
  for (uint64_t done = 0; done < length; done += slice_bytes) {
    const Key key{owner, offset.value + done};
    Shard& shard = ShardOf(key);
    MutexLock lock(shard.mu);
    const auto found = shard.entries.find(key);
    if (found == shard.entries.end() || found->second.slice == nullptr) continue;
    shard.used -= found->second.bytes + kEntryOverhead;
    shard.lru.erase(found->second.lru);
    shard.entries.erase(found);
  }
}

size_t MetadataCache::HashOf(const Key& key) {
  uint64_t hash = key.offset * 0x9E3779B97F4A7C15ull ^ (key.owner * 0xC2B2AE3D27D4EB4Full);
  hash ^= hash >> 29;
  hash *= 0xBF58476D1CE4E5B9ull;
  return hash ^ (hash >> 32);
}

MetadataCache::Shard& MetadataCache::ShardOf(const Key& key) {
  return shards_[(HashOf(key) >> 20) % kShards];
}

Result<SlicePtr> MetadataCache::Get(uint64_t owner, HostOffset offset, uint32_t bytes,
                                    const Loader& load) {
  const Key key{owner, offset.value};
  Shard& shard = ShardOf(key);
  {
    MutexLock lock(shard.mu);
    for (;;) {
      const auto found = shard.entries.find(key);
      if (found == shard.entries.end()) break;
      if (found->second.slice != nullptr) {
        shard.lru.splice(shard.lru.begin(), shard.lru, found->second.lru);
        hits_.fetch_add(1, std::memory_order_relaxed);
        return found->second.slice;
      }
      shard.loaded.Wait(shard.mu);
    }
    shard.entries.emplace(key, Shard::Entry{});  // loading
  }
  misses_.fetch_add(1, std::memory_order_relaxed);

  SlicePtr slice;
  Status status;
  try {
    slice = std::make_shared<MetadataSlice>(bytes);
    status = load(slice->bytes());
  } catch (const std::bad_alloc&) {
    status = Fail(ErrorKind::kNoMemory, "no memory for image metadata");
  }
  MutexLock lock(shard.mu);
  shard.loaded.NotifyAll();
  if (!status) {
    shard.entries.erase(key);
    return std::unexpected(std::move(status).error());
  }
  shard.Insert(key, slice, bytes, ShardLimit());
  return slice;
}

Result<SlicePtr> MetadataCache::PutZeroed(uint64_t owner, HostOffset offset, uint32_t bytes) {
  return Get(owner, offset, bytes, [](std::span<std::byte> out) -> Status {
    std::ranges::fill(out, std::byte{0});
    return {};
  });
}

void MetadataCache::DropOwner(uint64_t owner) {
  for (size_t i = 0; i < kShards; ++i) {
    Shard& shard = shards_[i];
    MutexLock lock(shard.mu);
    for (auto it = shard.entries.begin(); it != shard.entries.end();) {
      if (it->first.owner != owner || it->second.slice == nullptr) {
        ++it;
        continue;
      }
      shard.used -= it->second.bytes + kEntryOverhead;
      shard.lru.erase(it->second.lru);
      it = shard.entries.erase(it);
    }
  }
}

uint64_t MetadataCache::UsedBytes() const {
  uint64_t used = charged_.load(std::memory_order_relaxed);
  for (size_t i = 0; i < kShards; ++i) {
    MutexLock lock(shards_[i].mu);
    used += shards_[i].used;
  }
  return used;
}

}  // namespace chainfs
