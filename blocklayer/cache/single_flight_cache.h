// SPDX-License-Identifier: Apache-2.0
//
// SingleFlightCache: a bounded map of values that are costly to make. All caches of the daemon are
// built on it.
//
// Terms: a *flight* is one making of one value. Whoever misses a key starts a flight; others who
// want the same key meanwhile wait for it and get its result, error included. Failures are not
// kept: the next caller flies again.
//
// Bound: the bytes of all kept values, their bookkeeping included, never pass the limit, whatever
// callers still hold; a value too large to keep is handed out and forgotten. The coldest go first.
// Values that their holders change are another matter, since a second copy of one would be wrong:
// such a type has `bool InUse() const`, and what is in use is kept, on top of the limit.
//
// Threads: all methods, any thread. Values are made with no lock held, so making one may do I/O,
// but must not ask this cache for the same key. A shard's mutex is a leaf.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <utility>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"

namespace chainfs {

struct CacheKey {
  uint64_t owner = 0;
  uint64_t number = 0;
  bool operator==(const CacheKey&) const = default;
};

struct CacheKeyHash {
  size_t operator()(const CacheKey& key) const noexcept {
    uint64_t hash = (key.number * 0x9E3779B97F4A7C15ull) ^ (key.owner * 0xC2B2AE3D27D4EB4Full);
    hash ^= hash >> 29;
    hash *= 0xBF58476D1CE4E5B9ull;
    return hash ^ (hash >> 32);
  }
};

// Whether values are kept while somebody uses them.
template <typename Value>
concept KeptWhileInUse = requires(const Value& value) {
  { value.InUse() } -> std::same_as<bool>;
};

// Value: cheap to copy (a handle), default-constructible, with `uint64_t MemoryBytes() const`.
template <typename Value>
class SingleFlightCache {
 public:
  // What a kept value costs beyond its own bytes: list node, map node, its share of the buckets.
  static constexpr uint64_t kEntryOverhead = 136;

  // `shards` splits keys, locks and the limit evenly; a value larger than one share is never kept.
  SingleFlightCache(uint64_t limit_bytes, size_t shards)
      : shard_count_(shards), shard_limit_(limit_bytes / shards), shards_(new Shard[shards]) {}

  // The limit from now on; what is kept shrinks as new values come.
  void SetLimit(uint64_t limit_bytes) {
    shard_limit_.store(limit_bytes / shard_count_, std::memory_order_relaxed);
  }

  // The value of `key`; `make` is called as Result<Value>() if it is not at hand.
  template <typename Make>
  Result<Value> Get(const CacheKey& key, const Make& make) {
    Shard& shard = ShardOf(key);
    std::shared_ptr<Flight> flight;
    {
      MutexLock lock(shard.mu);
      if (const Value* value = shard.Touch(key)) return *value;
      const auto found = shard.flights.find(key);
      if (found != shard.flights.end()) {
        flight = found->second;
        while (!flight->landed) shard.landing.Wait(shard.mu);
        return flight->result;
      }
      flight = std::make_shared<Flight>();
      shard.flights.emplace(key, flight);
    }
    Result<Value> result = MakeGuarded(make);
    Land(shard, key, *flight, result);
    return result;
  }

  // The value if it is at hand; never waits.
  std::optional<Value> Peek(const CacheKey& key) {
    Shard& shard = ShardOf(key);
    MutexLock lock(shard.mu);
    if (const Value* value = shard.Touch(key)) return *value;
    return std::nullopt;
  }

  // Forgets one value; who holds it keeps it. One that is being made just now is kept when it is
  // done.
  void Forget(const CacheKey& key) {
    Shard& shard = ShardOf(key);
    MutexLock lock(shard.mu);
    shard.Erase(key);
  }

  // Forgets all values of an owner whose numbers lie below `numbers`. Owners are never reused, so
  // what a flight brings afterwards does no harm; it ages out.
  void Drop(uint64_t owner, uint64_t numbers) {
    if (numbers <= Count().entries) {
      for (uint64_t number = 0; number < numbers; ++number) {
        const CacheKey key{owner, number};
        Shard& shard = ShardOf(key);
        MutexLock lock(shard.mu);
        shard.Erase(key);
      }
      return;
    }
    for (size_t i = 0; i < shard_count_; ++i) {
      Shard& shard = shards_[i];
      MutexLock lock(shard.mu);
      for (auto it = shard.recent.begin(); it != shard.recent.end();) {
        const auto next = std::next(it);
        if (it->first.owner == owner) shard.Erase(it->first);
        it = next;
      }
    }
  }

  // The sums over all shards, one after the other.
  struct Totals {
    uint64_t used_bytes = 0;
    uint64_t entries = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
  };
  Totals Count() const {
    Totals totals;
    for (size_t i = 0; i < shard_count_; ++i) {
      const Shard& shard = shards_[i];
      MutexLock lock(shard.mu);
      totals.used_bytes += shard.used;
      totals.entries += shard.entries.size();
      totals.hits += shard.hits;
      totals.misses += shard.misses;
    }
    return totals;
  }

 private:
  // Guarded by the mutex of the key's shard.
  struct Flight {
    bool landed = false;
    Result<Value> result;
  };
  using Recent = std::list<std::pair<CacheKey, Value>>;  // hottest first

  struct alignas(64) Shard {
    mutable Mutex mu;
    CondVar landing;
    Recent recent GUARDED_BY(mu);
    std::unordered_map<CacheKey, typename Recent::iterator, CacheKeyHash> entries GUARDED_BY(mu);
    std::unordered_map<CacheKey, std::shared_ptr<Flight>, CacheKeyHash> flights GUARDED_BY(mu);
    uint64_t used GUARDED_BY(mu) = 0;
    uint64_t hits GUARDED_BY(mu) = 0;
    uint64_t misses GUARDED_BY(mu) = 0;

    const Value* Touch(const CacheKey& key) REQUIRES(mu) {
      const auto found = entries.find(key);
      if (found == entries.end()) return nullptr;
      if (found->second != recent.begin()) recent.splice(recent.begin(), recent, found->second);
      ++hits;
      return &found->second->second;
    }

    void Erase(CacheKey key) REQUIRES(mu) {
      const auto found = entries.find(key);
      if (found == entries.end()) return;
      used -= found->second->second.MemoryBytes() + kEntryOverhead;
      recent.erase(found->second);
      entries.erase(found);
    }

    // The coldest go until `bytes` more fit.
    void MakeRoom(uint64_t bytes, uint64_t limit) REQUIRES(mu) {
      for (auto it = recent.end(); used + bytes > limit && it != recent.begin();) {
        --it;
        if constexpr (KeptWhileInUse<Value>) {
          if (it->second.InUse()) continue;
        }
        used -= it->second.MemoryBytes() + kEntryOverhead;
        entries.erase(it->first);
        it = recent.erase(it);
      }
    }

    void Insert(const CacheKey& key, const Value& value, uint64_t limit) REQUIRES(mu) {
      const uint64_t bytes = value.MemoryBytes() + kEntryOverhead;
      if (!KeptWhileInUse<Value> && bytes > limit) return;
      MakeRoom(bytes, limit);
      recent.emplace_front(key, value);
      try {
        entries.emplace(key, recent.begin());
      } catch (const std::bad_alloc&) {
        recent.pop_front();
        throw;
      }
      used += bytes;
    }
  };

  Shard& ShardOf(const CacheKey& key) const {
    // The map uses the low bits of the same hash.
    return shards_[(CacheKeyHash()(key) >> 40) % shard_count_];
  }

  template <typename Make>
  static Result<Value> MakeGuarded(const Make& make) {
    try {
      return make();
    } catch (const std::bad_alloc&) {
      return Fail(ErrorKind::kNoMemory, "not enough memory to read the image");
    }
  }

  void Land(Shard& shard, const CacheKey& key, Flight& flight, Result<Value>& result) {
    MutexLock lock(shard.mu);
    ++shard.misses;
    flight.landed = true;
    try {
      flight.result = result;
      if (result) {
        shard.Insert(key, *result, shard_limit_.load(std::memory_order_relaxed));
      }
    } catch (const std::bad_alloc&) {
      // Not kept. A waiter finds either the result or a default value, which must not pass for one;
      // and what must be kept is not handed out.
      if (!result || KeptWhileInUse<Value>) {
        result = Fail(ErrorKind::kNoMemory, {});
        flight.result = result;
      }
    }
    shard.flights.erase(key);
    shard.landing.NotifyAll();
  }

  const size_t shard_count_;
  std::atomic<uint64_t> shard_limit_;
  const std::unique_ptr<Shard[]> shards_;
};

}  // namespace chainfs
