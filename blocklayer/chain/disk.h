// SPDX-License-Identifier: Apache-2.0
//
// Disk: a chain presented as one flat disk. Reads go through the chain (chain.h), writes to its
// active layer.
//
// The list of layers can change while the disk is in use; the contents never change because of it.
// Writers hold the write gate across their I/O, so that SwitchActive can wait until the layer that
// is to be frozen has no write under way.
//
// Locks: the write gate, before everything that writing an image takes; all others are leaves,
// never held across I/O.
//
// Threads: all methods, any thread; those that change the list of layers one caller at a time (the
// catalog serializes them).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "blocklayer/chain/change_count.h"
#include "blocklayer/chain/disk_access.h"
#include "blocklayer/chain/disk_errors.h"
#include "blocklayer/chain/disk_load.h"
#include "blocklayer/chain/published_chain.h"
#include "blocklayer/chain/read_taps.h"
#include "blocklayer/chain/write_gate.h"
#include "blocklayer/chain/write_tap.h"

namespace chainfs {

class Disk {
 public:
  // Whether a long change is to end.
  using StopFunction = std::function<bool()>;

  // `layers` top to base, at least one. Read-only until AllowWriting. kBusy while a layer below the
  // top is written.
  static Result<std::unique_ptr<Disk>> Open(std::string name, Layers layers, BlockContext& context);
  ~Disk();

  const std::string& name() const { return name_; }
  ChainPtr chain() const { return chain_.Get(); }
  uint64_t size() const { return chain()->size(); }  // bytes the disk shows
  // True also when the active layer cannot be written (any more).
  bool read_only() const { return !access_.permitted() || !chain()->active->image->writable(); }
  // Why, one phrase for people ("mid is built on it"); empty while it can be written.
  std::string ReadOnlyReason() const;
  // Whether a flush has failed, so that what the disk shows is not certain to last.
  bool failed() const { return chain()->active->image->poisoned(); }
  // Who has it open, and what its owner says of writing.
  DiskAccess& access() { return access_; }
  // The ticket of a handle that may write; nothing while the disk is read-only.
  std::optional<DiskAccess::Ticket> AdmitWriter() {
    DiskAccess::Ticket ticket = access_.CountWriter();
    if (read_only()) return std::nullopt;
    return ticket;
  }
  // What its users do, counted here but for the errors.
  DiskLoad& load() { return load_; }
  // False, and the disk stays read-only, while anybody reads the active layer beneath others
  // (stack_registry.h); the catalog is woken up when that has ended.
  bool AllowWriting() EXCLUDES(gate_);
  // Makes the disk read-only and waits for changes under way; afterwards others may be built on the
  // active layer. False, and nothing changes, while somebody has it open for writing; the catalog
  // is woken up by the last one who closes it.
  bool StopWriting() EXCLUDES(gate_);
  // Whether anything of it was changed since it was opened, or half changed.
  bool changed() const { return changes_.Get() != 0; }
  // Seconds and nanoseconds of the last guest write, or of the active file before the first.
  timespec modified() const { return changes_.modified(); }
  // Failures that somebody should hear of, told from I/O threads.
  DiskErrors& errors() { return errors_; }

  // From the return on, `tap` is told of every change that ends after it, until it is removed.
  void AddTap(std::shared_ptr<WriteTap> tap) EXCLUDES(gate_) {
    const WriteGate::Closure gate(gate_);
    taps_.Add(std::move(tap));
  }
  // On return nobody calls it any more.
  void RemoveTap(const WriteTap& tap) EXCLUDES(gate_);
  // Told of every read of its users that has succeeded.
  ReadTaps& read_taps() { return read_taps_; }
  // Calls `act` with no change under way and none beginning; all wait for it. It must not change
  // the disk or its taps.
  Status WhileQuiet(const std::function<Status()>& act) EXCLUDES(gate_) {
    const WriteGate::Closure gate(gate_);
    return act();
  }

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
  Status Flush() {
    const LatencyTimer timer(load_, &DiskLoad::flushes, 0);
    return FlushActive();
  }
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
  // Cuts the disk off at `new_size` (<= size(), a multiple of 512), at once. Keeps writers out
  // meanwhile; a read past the new end finds the end there. kInvalidArgument when it grows, or,
  // unless the tail may be lost, where that holds anything but zeros; kBusy while there are taps.
  enum class Tail : uint8_t { kMustBeEmpty, kIsLost };
  Status Shrink(uint64_t new_size, Tail tail);

  // The extent at `offset`; layer 0 is the active one. Its length is 0 at the end of the disk and
  // past it.
  Result<StackExtent> Map(GuestOffset offset, uint64_t length, MapDetail detail) const;

  // Freezes the active layer and continues on `overlay`, whose backing is the active layer: waits
  // for writes under way, flushes, calls `make_durable` (which records the new active layer on
  // disk), publishes. When any step fails the disk goes on with the old list.
  Status SwitchActive(const LayerPtr& overlay, const std::function<Status()>& make_durable);
  // Publishes a list with the same contents (the end of a stream). layers.front() is the active
  // layer as it is now. kBusy as for Open; the old list stays then.
  Status ReplaceLayers(Layers layers);

  // Goes on with another list that shows the same: with no change under way calls `last_round`,
  // which sees to that and may need the disk to be read, flushes layers.front(), calls
  // `make_durable` (which records the new active layer), publishes. layers.front() as for
  // ChainSwitch::Prepare; one that is longer than the disk makes it longer, a shorter one is
  // kInvalidArgument. Handles and taps stay. When any step fails the disk goes on with the old
  // list.
  Status ContinueOn(Layers layers, const std::function<Status()>& last_round,
                    const std::function<Status()>& make_durable);

  // Goes on with another list, which shows other contents, after `make_durable` (which records it).
  // Only between StopWriting and AllowWriting. What was not flushed of the old active layer is
  // lost. When any step fails the disk goes on with the old list. kBusy while there are taps.
  Status GoBack(Layers layers, const std::function<Status()>& make_durable) EXCLUDES(gate_);

 private:
  friend class ChainSwitch;
  // What a change is made to.
  struct Target {
    const Chain& chain;
    WritableImage& image;  // the active layer's
    const WriteTaps& taps;
  };

  Disk(std::string name, std::shared_ptr<Chain> chain, BlockContext& context);
  // One part, up to `new_size` at most; false when there is more to do.
  Result<bool> GrowPart(uint64_t new_size) EXCLUDES(gate_);
  template <typename Change>
  Status ZeroInParts(std::string_view operation, GuestOffset offset, uint64_t length,
                     const StopFunction& stop, const Change& change);
  // Writes go through here: `change` is called as Status(const Target&) with writing permitted and
  // the range within the disk, and the active layer cannot change meanwhile.
  template <typename Change>
  Status ChangeActive(std::string_view operation, GuestOffset offset, uint64_t length,
                      const Change& change) EXCLUDES(gate_);
  // The image to write, if the range may be.
  Result<WritableImage*> ImageToChange(const Chain& chain, GuestOffset offset,
                                       uint64_t length) const;
  Status FlushActive();
  Status Observed(std::string_view operation, Status status) const {
    if (!status) errors_.Tell(*this, operation, status.error());
    return status;
  }

  const std::string name_;
  BlockContext& context_;
  DiskAccess access_;
  DiskLoad load_;
  DiskErrors errors_;
  ChangeCount changes_;
  PublishedChain chain_;
  ReadTaps read_taps_;
  WriteGate gate_;  // passed: a guest write; closed: a switch of the active layer, growth
  WriteTaps taps_ GUARDED_BY(gate_);
  // The active layer is marked as written, for this disk.
  bool writes_ GUARDED_BY(gate_) = false;
};
using DiskPtr = std::shared_ptr<Disk>;

}  // namespace chainfs
