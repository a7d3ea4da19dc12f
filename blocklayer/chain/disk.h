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
#include <optional>
#include <span>
#include <string>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/disk_access.h"
#include "blocklayer/chain/disk_load.h"
#include "blocklayer/chain/layer_stack.h"

namespace chainfs {

// One version of a disk's list of layers.
struct Chain {
  LayerPtr active;
  std::shared_ptr<const LayerStack> below;  // null when the active layer is the base
  uint64_t generation = 0;                  // grows by one with every change of the list
  // The list that came after this one, from then on. Whoever still reads this one may read `active`
  // as the layer that is written; the newer list keeps it from being written by anybody else.
  // Belongs to the disk's chain_mu_.
  mutable std::shared_ptr<const Chain> next;

  // Active first.
  Layers AllLayers() const;
  size_t depth() const { return below ? below->layers().size() + 1 : 1; }
};
using ChainPtr = std::shared_ptr<const Chain>;

class Disk {
 public:
  // Whether a long change is to end.
  using StopFunction = std::function<bool()>;
  // Tells about failures that somebody should hear of. Called from I/O threads with no lock held.
  using ErrorObserver = std::function<void(const Disk&, std::string_view operation, const Error&)>;

  // `layers` top to base, at least one. Read-only until AllowWriting. kBusy while a layer below the
  // top is written.
  static Result<std::unique_ptr<Disk>> Open(std::string name, Layers layers, BlockContext& context);
  ~Disk();

  const std::string& name() const { return name_; }
  ChainPtr chain() const EXCLUDES(chain_mu_);
  uint64_t size() const;  // bytes the disk shows: the active layer's virtual size
  // True also when the active layer cannot be written (any more).
  bool read_only() const;
  // Why, one phrase for people ("mid is built on it"); empty while it can be written.
  std::string ReadOnlyReason() const;
  // Whether a flush has failed, so that what the disk shows is not certain to last.
  bool failed() const { return chain()->active->image->file().poisoned(); }
  // Who has it open, and what its owner says of writing.
  DiskAccess& access() { return access_; }
  // The ticket of a handle that may write; nothing while the disk is read-only.
  std::optional<DiskAccess::Ticket> AdmitWriter();
  // What its users do, counted here but for the errors.
  DiskLoad& load() { return load_; }
  // False, and the disk stays read-only, while anybody reads the active layer beneath others
  // (stack_registry.h); the catalog is woken up when that has ended.
  bool AllowWriting() EXCLUDES(write_gate_, gate_mu_);
  // Makes the disk read-only and waits for changes under way; afterwards others may be built on the
  // active layer. False, and nothing changes, while somebody has it open for writing; the catalog
  // is woken up by the last one who closes it.
  bool StopWriting() EXCLUDES(write_gate_, gate_mu_);
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
  // Whether there is something for Flush: a change (write, zeroes, discard, resize; also one that
  // failed) since it last succeeded, or what its image has pending. False when the active layer
  // can not be written any more; what a read-only disk's image has pending stays until it closes,
  // because others may read the file. Waits for a flush under way.
  bool NeedsFlush() const;
  // Flushes, if need be, until nothing waits, also what only a second flush can do: clusters that
  // were freed go back to the host. Stops early while reads keep such clusters from going.
  Status Settle();
  // `new_size` >= size(), rounded up to 512 by the caller; kInvalidArgument when it shrinks.
  // Where the backing is longer, which must not show, it grows part by part, like the above: a
  // failure leaves a size between.
  Status Grow(uint64_t new_size, const StopFunction& stop = {});

  // The extent at `offset`; layer 0 is the active one. `offset` < size().
  Result<StackExtent> Map(GuestOffset offset, uint64_t length, MapDetail detail) const;

  // Freezes the active layer and continues on `overlay`, whose backing is the active layer: waits
  // for writes under way, flushes, calls `make_durable` (which records the new active layer on
  // disk), publishes. When any step fails the disk goes on with the old list.
  Status SwitchActive(const LayerPtr& overlay, const std::function<Status()>& make_durable);
  // Publishes a list with the same contents (the end of a stream). layers.front() is the active
  // layer as it is now. kBusy as for Open; the old list stays then.
  Status ReplaceLayers(Layers layers);

  // Goes on with another list, which shows other contents, after `make_durable` (which records it).
  // Only between StopWriting and AllowWriting. What was not flushed of the old active layer is
  // lost. When any step fails the disk goes on with the old list.
  Status GoBack(Layers layers, const std::function<Status()>& make_durable)
      EXCLUDES(write_gate_, gate_mu_);

 private:
  class GateCloser;
  Disk(std::string name, std::shared_ptr<Chain> chain, BlockContext& context);
  // One part, up to `new_size` at most; false when there is more to do.
  Result<bool> GrowPart(uint64_t new_size);
  template <typename Change>
  Status ZeroInParts(std::string_view operation, GuestOffset offset, uint64_t length,
                     const StopFunction& stop, const Change& change);

  // Writes go through here: `change` is called as Status(const Chain&, WritableImage& active) with
  // writing permitted and the range within the disk, and the active layer cannot change meanwhile.
  template <typename Change>
  Status ChangeActive(std::string_view operation, GuestOffset offset, uint64_t length,
                      const Change& change);
  void WaitForOpenGate() EXCLUDES(gate_mu_);
  bool HasUnflushedChanges() const;
  // The image to write, if the range may be.
  Result<WritableImage*> ImageToChange(const Chain& chain, GuestOffset offset,
                                       uint64_t length) const;
  Status FlushActive();
  Result<size_t> ReadFrom(const Chain& chain, GuestOffset offset, std::span<std::byte> out) const;
  // The part of SwitchActive that holds the gate.
  Status SwitchQuietly(const LayerPtr& overlay, const std::function<Status()>& make_durable)
      REQUIRES(write_gate_);
  void Publish(std::shared_ptr<Chain> chain) EXCLUDES(chain_mu_);
  // Tells the observer of a failure that is not the caller's own fault.
  void Observe(std::string_view operation, const Error& error) const EXCLUDES(observer_mu_);
  Status Observed(std::string_view operation, Status status) const;

  const std::string name_;
  BlockContext& context_;
  DiskAccess access_;
  DiskLoad load_;
  std::atomic<int64_t> modified_ns_ = 0;
  std::atomic<uint64_t> changes_ = 0;          // of the contents, each counted after it was made
  std::atomic<uint64_t> flushed_changes_ = 0;  // how many of them a flush has covered

  mutable Mutex observer_mu_;
  std::shared_ptr<const ErrorObserver> observer_ GUARDED_BY(observer_mu_);

  // How many want the gate exclusively; changed under gate_mu_.
  std::atomic<uint32_t> closing_ = 0;
  Mutex gate_mu_;
  CondVar gate_opened_;
  SharedMutex write_gate_;  // shared: a guest write; exclusive: the switch of the active layer
  // The active layer is marked as written, for this disk.
  bool writes_ GUARDED_BY(write_gate_) = false;

  mutable SharedMutex chain_mu_;  // held only to copy the pointer
  ChainPtr chain_ GUARDED_BY(chain_mu_);
};
using DiskPtr = std::shared_ptr<Disk>;

}  // namespace chainfs
