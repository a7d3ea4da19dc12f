// SPDX-License-Identifier: Apache-2.0
//
// Disk: a chain presented as one flat disk. Reads look at the active layer's own map and, for what
// it leaves unallocated, at the merged index of everything below: two look-ups at any depth. Writes
// go to the active layer.
//
// The list of layers can change while the disk is in use; the contents never change because of it.
// Readers take the list as it is when they start and keep it alive until they end. Writers hold
// write_gate_ shared across their I/O, so that SwitchActive can wait until the layer that is to be
// frozen has no write under way. Who wants the gate exclusively says so first (GateCloser): new
// writers then wait, because the lock itself would let readers pass for ever.
//
// Lock order: gate_mu_ alone; write_gate_ before everything that writing an image takes; chain_mu_
// and observer_mu_ are leaves, never held across I/O.
//
// Threads: all methods, any thread; SwitchActive and ReplaceLayers one caller at a time (the
// catalog serializes them).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "blocklayer/base/sync.h"
#include "blocklayer/layer_stack.h"

namespace chainfs {

// One version of a disk's list of layers.
struct Chain {
  LayerPtr active;
  std::shared_ptr<const LayerStack> below;  // null when the active layer is the base
  uint64_t generation = 0;                  // grows by one with every change of the list

  // Active first.
  Layers AllLayers() const;
  size_t depth() const { return below ? below->layers().size() + 1 : 1; }
};
using ChainPtr = std::shared_ptr<const Chain>;

class Disk {
 public:
  // Tells about failures that somebody should hear of. Called from I/O threads with no lock held.
  using StopFunction = std::function<bool()>;
  using ErrorObserver = std::function<void(const Disk&, std::string_view operation, const Error&)>;

  // `layers` top to base, at least one.
  Disk(std::string name, Layers layers, bool read_only, BlockContext& context);
  ~Disk();

  const std::string& name() const { return name_; }
  ChainPtr chain() const EXCLUDES(chain_mu_);
  uint64_t size() const;  // bytes the disk shows: the active layer's virtual size
  // True also when the active layer cannot be written (any more).
  bool read_only() const;
  void SetReadOnly(bool read_only) { read_only_.store(read_only, std::memory_order_release); }
  // Seconds and nanoseconds of the last guest write, or of the active file before the first.
  timespec modified() const;
  // Bytes that the layers which only this chain's files make up occupy: the sum over all layers.
  Result<uint64_t> AllocatedBytes() const;
  void SetErrorObserver(ErrorObserver observer);

  // Reads up to `out.size()` bytes; fewer only at the end of the disk (0 at or past it).
  Result<size_t> Read(GuestOffset offset, std::span<std::byte> out);
  // kNoSpace when the range passes the end of the disk; kReadOnly.
  Status Write(GuestOffset offset, std::span<const std::byte> data);
  // These change the disk part by part, and let others in between; `stop` is asked there whether it
  // is to end, with kCancelled, and what is done stays done.
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                     const StopFunction& stop = {});
  Status Discard(GuestOffset offset, uint64_t length, const StopFunction& stop = {});
  // Everything acknowledged is durable on return, in every file that can hold it.
  Status Flush();
  // `new_size` >= size(), rounded up to 512 by the caller; kInvalidArgument when it shrinks.
  // Where the backing is longer, which must not show, it grows part by part, like the above: a
  // failure leaves a size between.
  Status Grow(uint64_t new_size, const StopFunction& stop = {});

  // The extent at `offset`; layer 0 is the active one. `offset` < size().
  Result<StackExtent> Map(GuestOffset offset, uint64_t length, MapDetail detail) const;

  // Freezes the active layer and continues on `overlay`, whose backing is the active layer: waits
  // for writes under way, flushes, calls `make_durable` (which records the new active layer on
  // disk), publishes. When any step fails the disk goes on with the old list.
  Status SwitchActive(LayerPtr overlay, const std::function<Status()>& make_durable);
  // Publishes a list with the same contents (the end of a stream). layers.front() is the active
  // layer as it is now.
  void ReplaceLayers(Layers layers);

  // Open handles that may write, counted by the presentation; see Catalog on read-only rules.
  std::atomic<uint32_t>& writers() { return writers_; }

 private:
  class GateCloser;
  // One part, up to `new_size` at most; false when there is more to do.
  Result<bool> GrowPart(uint64_t new_size);
  template <typename Change>
  Status ZeroInParts(std::string_view operation, GuestOffset offset, uint64_t length,
                     const StopFunction& stop, const Change& change);

  // Writes go through here: `change` is called as Status(const Chain&) with writing permitted and
  // the range within the disk, and the active layer cannot change meanwhile.
  template <typename Change>
  Status ChangeActive(std::string_view operation, GuestOffset offset, uint64_t length,
                      const Change& change);
  void WaitForOpenGate() EXCLUDES(gate_mu_);
  Status CheckChange(const Chain& chain, GuestOffset offset, uint64_t length) const;
  Result<size_t> ReadFrom(const Chain& chain, GuestOffset offset, std::span<std::byte> out) const;
  void Publish(Layers layers) EXCLUDES(chain_mu_);
  void Publish(std::shared_ptr<Chain> chain) EXCLUDES(chain_mu_);
  // Tells the observer of a failure that is not the caller's own fault.
  void Observe(std::string_view operation, const Error& error) const EXCLUDES(observer_mu_);
  Status Observed(std::string_view operation, Status status) const;

  const std::string name_;
  BlockContext& context_;
  std::atomic<bool> read_only_;
  std::atomic<uint32_t> writers_ = 0;
  std::atomic<int64_t> modified_ns_ = 0;

  mutable Mutex observer_mu_;
  std::shared_ptr<const ErrorObserver> observer_ GUARDED_BY(observer_mu_);

  // How many want the gate exclusively; changed under gate_mu_.
  std::atomic<uint32_t> closing_ = 0;
  Mutex gate_mu_;
  CondVar gate_opened_;
  SharedMutex write_gate_;  // shared: a guest write; exclusive: the switch of the active layer

  mutable SharedMutex chain_mu_;  // held only to copy the pointer
  ChainPtr chain_ GUARDED_BY(chain_mu_);
};
using DiskPtr = std::shared_ptr<Disk>;

}  // namespace chainfs
