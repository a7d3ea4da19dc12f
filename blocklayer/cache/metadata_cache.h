// SPDX-License-Identifier: Apache-2.0
//
// MetadataCache: the one bounded cache of qcow2 tables (L2 tables and refcount blocks) for every
// image of the daemon. It holds *slices*: aligned pieces of at most 4 KiB, keyed by the image and
// the slice's host offset, so that large clusters and deep chains cost no more than what is used.
//
// Terms: a slice is *clean* (equals the disk) or *pinned* (its image holds it because it is dirty
// or being written back). Only clean, unreferenced slices are evicted, so a reload can never bring
// back stale bytes; the image bounds how much it pins by committing.
//
// Threads: all methods, any thread. A slice that is absent is loaded by one thread while the others
// wait for that one (never two loads of one slice). Loading does I/O with no lock held. The bytes
// of a slice are read and written as 64-bit words with atomic_ref by whoever holds a SlicePtr, or
// as pairs of them; the owner image orders writers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/base/types.h"
#include "blocklayer/cache/single_flight_cache.h"

namespace chainfs {

// The bytes of one slice as they are on disk (big-endian). 8-byte aligned.
class MetadataSlice {
 public:
  explicit MetadataSlice(size_t bytes) : words_(bytes / 8) {}
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(words_)); }
  std::span<uint64_t> words() { return words_; }
  // In host byte order. Readers race with the writer of another word, or of this one: each word is
  // whole.
  uint64_t LoadWord(uint64_t index) const {
    std::atomic_ref<uint64_t> word(const_cast<uint64_t&>(words_[index]));
    return BigEndian(word.load(std::memory_order_acquire));
  }
  void StoreWord(uint64_t index, uint64_t value) {
    std::atomic_ref<uint64_t> word(words_[index]);
    word.store(BigEndian(value), std::memory_order_release);
  }

  // Two neighbours that mean something only together: readers see both of one StorePair.
  struct Pair {
    uint64_t first = 0;
    uint64_t second = 0;
  };
  Pair LoadPair(uint64_t index) const {
    for (;;) {
      const uint32_t before = pairs_stored_.load(std::memory_order_acquire);
      const Pair pair{LoadWord(index), LoadWord(index + 1)};
      if (before % 2 == 0 && pairs_stored_.load(std::memory_order_relaxed) == before) return pair;
      std::this_thread::yield();
    }
  }
  // One caller at a time.
  void StorePair(uint64_t index, Pair pair) {
    pairs_stored_.fetch_add(1, std::memory_order_acq_rel);
    StoreWord(index, pair.first);
    StoreWord(index + 1, pair.second);
    pairs_stored_.fetch_add(1, std::memory_order_release);
  }

 private:
  std::vector<uint64_t> words_;
  std::atomic<uint32_t> pairs_stored_ = 0;  // twice their number; odd: one is being stored
};
using SlicePtr = std::shared_ptr<MetadataSlice>;

class MetadataCache {
 public:
  using Loader = std::function<Status(std::span<std::byte>)>;

  static constexpr uint32_t kMaxSliceBytes = 4096;

  // `limit_bytes` bounds the clean slices; pinned ones come on top, bounded by their images.
  explicit MetadataCache(uint64_t limit_bytes);

  // A number that no other owner has or had.
  uint64_t NewOwner() { return next_owner_.fetch_add(1, std::memory_order_relaxed); }

  // The slice of `bytes` bytes at `offset` of `owner`, loading it if absent. A failed load is not
  // cached: the next caller tries again.
  Result<SlicePtr> Get(uint64_t owner, HostOffset offset, uint32_t bytes, const Loader& load);
  // Puts a slice of zeros in place without reading (a table just allocated and zeroed on disk).
  Result<SlicePtr> PutZeroed(uint64_t owner, HostOffset offset, uint32_t bytes);
  // Forgets every slice of `owner`, which must not use them any more.
  void DropOwner(uint64_t owner) { slices_.Drop(owner, UINT64_MAX); }
  // Forgets the slices of `slice_bytes` within a range that is about to hold another table. Who
  // still holds one keeps it.
  void Forget(uint64_t owner, HostOffset offset, uint64_t length, uint32_t slice_bytes);

  // Memory of tables that are not slices, within the same limit: slices make room. False, and
  // nothing charged, if all images together, or this one, would charge too much.
  bool Charge(uint64_t already_charged_by_image, uint64_t more) EXCLUDES(charge_mu_);
  void Discharge(uint64_t bytes) EXCLUDES(charge_mu_);

  // Bytes held, charged ones included, for metrics and tests.
  uint64_t UsedBytes() const EXCLUDES(charge_mu_);
  uint64_t hits() const { return slices_.Count().hits; }
  uint64_t misses() const { return slices_.Count().misses; }

 private:
  struct Kept {
    SlicePtr slice;
    uint64_t MemoryBytes() const { return slice->bytes().size() + kControlBytes; }
    // Besides the cache itself.
    bool InUse() const { return slice.use_count() > 1; }
  };
  static constexpr uint64_t kControlBytes = 64;  // of vector and shared pointer
  static constexpr size_t kShards = 16;
  // Half of the limit a single image, so that one does not leave others without.
  static constexpr uint64_t kLeastChargeable = 4ull << 20;

  // What is left for slices.
  uint64_t SliceLimit() const REQUIRES(charge_mu_);

  const uint64_t limit_;
  mutable Mutex charge_mu_;  // a leaf
  uint64_t charged_ GUARDED_BY(charge_mu_) = 0;
  SingleFlightCache<Kept> slices_;
  std::atomic<uint64_t> next_owner_ = 1;
};

}  // namespace chainfs
