// SPDX-License-Identifier: Apache-2.0
//
// The merged index: for every part of a stack of frozen layers, which source serves it and where.
// One look-up answers, however many layers there are.
//
// Terms: a *region* is 4 MiB of guest space, aligned; a *run* is a part of a region that one layer
// serves in one way from one place of one of its sources. Runs of a region begin at 0, do not
// overlap, leave no gap, and no two neighbours could be one run. Regions are built when first asked
// for and never change.
//
// Building asks the layers from the top down, each only for what is still open, and stops when
// nothing is; it does not recurse. What one layer leaves open behind its own end is zeros of that
// layer (the size rule of layer_stack.h).
//
// Threads: all functions, any thread. Building does I/O with no lock held, once for all who wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "blocklayer/cache/single_flight_cache.h"
#include "blocklayer/chain/layer.h"
#include "blocklayer/chain/stack_sources.h"

namespace chainfs {

// Sixteen bytes: the index of a fragmented terabyte is made of millions of them.
class FlatRun {
 public:
  FlatRun() = default;
  FlatRun(uint32_t begin_sector, uint32_t source, ExtentKind kind, HostOffset host,
          uint32_t compressed_bytes)
      : begin_(static_cast<uint16_t>(begin_sector)),
        source_(static_cast<uint16_t>(source)),
        kind_and_bytes_((static_cast<uint32_t>(kind) << kKindShift) | compressed_bytes),
        host_(host.value) {}

  uint32_t begin_sector() const { return begin_; }  // within the region
  // Index in the StackSources; of zeros the first one of their layer, 0 when unallocated.
  uint32_t source() const { return source_; }
  ExtentKind kind() const { return static_cast<ExtentKind>(kind_and_bytes_ >> kKindShift); }
  HostOffset host() const { return HostOffset(host_); }
  uint32_t compressed_bytes() const { return kind_and_bytes_ & kBytesMask; }

 private:
  static constexpr uint32_t kKindShift = 30;
  static constexpr uint32_t kBytesMask = (1u << kKindShift) - 1;

  uint16_t begin_ = 0;
  uint16_t source_ = 0;
  uint32_t kind_and_bytes_ = 0;
  uint64_t host_ = 0;
};
static_assert(sizeof(FlatRun) == 16);

// A handle to the immutable runs of one region.
class FlatRegion {
 public:
  static constexpr uint64_t kBytes = 4ull << 20;
  static constexpr uint64_t kSectorSize = 512;
  static constexpr uint32_t kSectors = kBytes / kSectorSize;
  static constexpr size_t kMaxSources = 65535;

  FlatRegion() = default;
  // Copies `runs`, which cover 0..sectors.
  FlatRegion(std::span<const FlatRun> runs, uint32_t sectors);

  uint32_t size() const { return count_; }
  const FlatRun& run(uint32_t index) const { return runs_[index]; }
  // Index of the run that holds `byte`, counted from the start of the region; byte < EndByte().
  uint32_t Find(uint64_t byte) const;
  uint64_t BeginByte(uint32_t index) const { return runs_[index].begin_sector() * kSectorSize; }
  uint64_t EndByte(uint32_t index) const {
    return index + 1 < count_ ? BeginByte(index + 1) : EndByte();
  }
  // What the region covers: kBytes, less where the stack ends.
  uint64_t EndByte() const { return sectors_ * kSectorSize; }
  // The part of run `index` from `byte` (of the region, within the run) on, as its layer's extent,
  // but for the source.
  Extent ExtentAt(uint32_t index, uint64_t byte) const;
  uint64_t MemoryBytes() const;

 private:
  std::shared_ptr<const FlatRun[]> runs_;
  uint32_t count_ = 0;
  uint32_t sectors_ = 0;
};

// Builds region `number` of the stack `layers` (top to base) with their `sources`, which is `size`
// bytes long and reaches into the region.
Result<FlatRegion> BuildFlatRegion(const Layers& layers, const StackSources& sources, uint64_t size,
                                   uint64_t number);

// The regions of all stacks of a daemon, within one limit of bytes; the coldest go first.
class IndexCache {
 public:
  explicit IndexCache(uint64_t limit_bytes);

  // A number that no other stack has or had.
  uint64_t NewOwner() { return next_owner_.fetch_add(1, std::memory_order_relaxed); }
  // Region `number` of the stack `owner`, built if it is not at hand. A failure is not kept.
  Result<FlatRegion> Get(uint64_t owner, const Layers& layers, const StackSources& sources,
                         uint64_t size, uint64_t number) {
    return cache_.Get({owner, number},
                      [&] { return BuildFlatRegion(layers, sources, size, number); });
  }
  // Forgets regions [first, end) of a stack; one that is being built just now is kept afterwards.
  void Forget(uint64_t owner, uint64_t first, uint64_t end) {
    for (uint64_t number = first; number < end; ++number) cache_.Forget({owner, number});
  }
  // Forgets the regions of a stack of `size` bytes that is going away.
  void DropOwner(uint64_t owner, uint64_t size);

  uint64_t UsedBytes() const { return cache_.Count().used_bytes; }
  uint64_t Regions() const { return cache_.Count().entries; }
  uint64_t hits() const { return cache_.Count().hits; }
  uint64_t misses() const { return cache_.Count().misses; }

 private:
  static constexpr size_t kShards = 16;

  SingleFlightCache<FlatRegion> cache_;
  std::atomic<uint64_t> next_owner_ = 1;
};

}  // namespace chainfs
