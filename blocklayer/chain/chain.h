// SPDX-License-Identifier: Apache-2.0
//
// Chain: one version of a disk's list of layers, and reading through it: the active layer's own map
// and, for what it leaves unallocated, the merged index of everything below. Two look-ups at any
// depth.
//
// Threads: immutable once it is published, but for `next`; all methods, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "blocklayer/chain/layer_stack.h"

namespace chainfs {

struct Chain {
  LayerPtr active;
  std::shared_ptr<const LayerStack> below;  // null when the active layer is the base
  uint64_t generation = 0;                  // grows by one with every change of the list
  // The list that came after this one, from then on. Whoever still reads this one may read `active`
  // as the layer that is written; the newer list keeps it from being written by anybody else.
  // Belongs to the lock of the disk's PublishedChain.
  mutable std::shared_ptr<const Chain> next;
  // Where the newer list does not contain `active`, this does. Set before the list is replaced.
  mutable std::shared_ptr<const LayerStack> kept;

  // Top to base, at least one. kBusy while a layer below the top is written.
  static Result<std::shared_ptr<Chain>> Make(Layers layers, BlockContext& context);

  // Active first.
  Layers AllLayers() const;
  size_t depth() const { return below ? below->layers().size() + 1 : 1; }
  // Bytes that it shows: the active layer's virtual size.
  uint64_t size() const { return active->image->virtual_size(); }
  // Bytes that the layers occupy: the sum over all of them.
  Result<uint64_t> AllocatedBytes() const;
  // Up to where a layer below the active one has contents. What is longer than the layer above it
  // does not show, but would once a stream has left that layer out.
  uint64_t LongestBelow() const;

  // Reads up to `out.size()` bytes; fewer only at the end (0 at or past it).
  Result<size_t> Read(DecodedCache& decoded, GuestOffset offset, std::span<std::byte> out) const;
  // The extent at `offset`, at most `length` long; layer 0 is the active one. Its length is 0 at
  // the end and past it.
  Result<StackExtent> Map(GuestOffset offset, uint64_t length, MapDetail detail) const;

 private:
  // kInvalidArgument if the active layer is made shorter meanwhile.
  Result<size_t> ReadOnce(DecodedCache& decoded, GuestOffset offset,
                          std::span<std::byte> out) const;
  Result<StackExtent> MapOnce(GuestOffset offset, uint64_t length, MapDetail detail) const;
};
using ChainPtr = std::shared_ptr<const Chain>;

}  // namespace chainfs
