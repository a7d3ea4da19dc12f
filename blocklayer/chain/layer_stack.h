// SPDX-License-Identifier: Apache-2.0
//
// LayerStack: an immutable list of layers whose contents do not change, seen as one flat read-only
// disk. It answers where any guest range lies with one look-up, however many layers there are:
// the merged index (flat_index.h), built lazily region by region and kept in the shared, bounded
// IndexCache.
//
// Size rule: a layer that is shorter than the one above it reads as zeros past its end; what lies
// in deeper layers beyond that end does not shine through. Past size() everything reads as zeros.
//
// A job may populate a layer of a stack meanwhile (same contents, new place): the index stays
// right, because the places it names stay valid as long as the stack lives. A job that moves data
// within a layer, or out of it, has the stack drop what its index says of that range (DropRegions).
// So does one that enlarges a layer, of what lies past the old end. A new list of layers is a new
// LayerStack.
//
// Where a region of the index cannot be built (one bad table entry spoils it), the layers are asked
// directly, so that only what is really bad fails.
//
// Threads: all methods, any thread. No lock is held across I/O.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/flat_index.h"
#include "blocklayer/chain/layer.h"
#include "blocklayer/chain/stack_sources.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs {

// An extent of a stack or a disk: what serves a range, and which layer.
struct StackExtent {
  ExtentKind kind = ExtentKind::kUnallocated;  // kUnallocated: no layer has it; reads as zeros
  uint64_t length = 0;                         // bytes, > 0 within the disk
  uint32_t layer = 0;                          // index from the top; valid unless kUnallocated
  HostOffset host = {};
  uint32_t compressed_bytes = 0;
  uint16_t source = 0;  // of the layer's image, for `host`
};

class LayerStack final : public BackingReader {
 public:
  // `layers` top to base, at least one. The same list, while one is alive, gives the same object,
  // so that linked clones share one index. kBusy while one of them is written; none can be written
  // as long as the stack lives (stack_registry.h).
  static Result<std::shared_ptr<const LayerStack>> Make(Layers layers, BlockContext& context);
  ~LayerStack() override;

  const Layers& layers() const { return layers_; }
  // Virtual size of the top layer, in whole sectors; grows where a job enlarges that layer.
  uint64_t size() const;

  // The extent that begins at `offset`, at most `length` (> 0) long. Zeros past size().
  Result<StackExtent> Map(GuestOffset offset, uint64_t length, MapDetail detail) const;
  // Whoever uses places that Map has named holds this meanwhile; ReadBelow does by itself.
  IoEpoch::Guard EnterReading() const { return readers_.Enter(); }
  // Forgets what the index says of a range, whose contents stay the same while a place that they
  // lie in is about to go. Its owner first makes the layer's own map name the new place, then calls
  // this for every living stack that contains the layer, then gives the old place away: on return
  // no read that may use it is under way. Waits for such reads; not to be called from one.
  void DropRegions(GuestOffset offset, uint64_t length) const EXCLUDES(drop_mu_);
  // Fills `out`; zeros past size().
  Status ReadBelow(GuestOffset offset, std::span<std::byte> out) const override;

  // Belongs to the StackRegistry and its lock.
  struct Use {
    bool retired = false;
  };
  mutable Use use;

 private:
  LayerStack(Layers layers, BlockContext& context);

  Result<FlatRegion> RegionAt(GuestOffset offset) const;
  // Asks the layers one by one, without the index. `offset` < size().
  Result<StackExtent> MapDirectly(GuestOffset offset, uint64_t length) const;
  // Lengthens what reaches the end of a region by what follows, if it is the same.
  void Extend(StackExtent& extent, GuestOffset offset, uint64_t length) const;
  void WaitForReaders() const REQUIRES(drop_mu_);
  Status ReadDirectly(GuestOffset offset, std::span<std::byte> out) const;

  const Layers layers_;
  const StackSources sources_;
  BlockContext& context_;
  const uint64_t owner_id_;  // key of this stack's regions in the IndexCache
  bool counted_ = false;     // constant once Make has returned it
  mutable IoEpoch readers_;
  mutable Mutex drop_mu_;  // held while readers are waited for; they take no such lock
};

}  // namespace chainfs
