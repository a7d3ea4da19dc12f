// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/chain/chain_switch.h"
#include "blocklayer/chain/stack_registry.h"
#include "blocklayer/chain/tail_check.h"

namespace chainfs {
namespace {

// One that is never written has nothing to flush.
Status FlushImage(Image& image) {
  WritableImage* const writer = image.writer();
  return writer != nullptr ? writer->Flush() : Status();
}

// What one part of a long change covers.
struct ZeroPart {
  uint64_t length = 0;
  bool is_zero = false;  // nothing is to be done
};

// At most so much is zeroed under one hold of the gate; ends at a multiple of it, and with it of
// any cluster size, because a part of a cluster would have to be written. What holds nothing anyway
// is passed over at once, however much it is.
ZeroPart NextZeroPart(const Chain& chain, GuestOffset offset, uint64_t length) {
  constexpr uint64_t kPart = 64ull << 20;
  Image& active = *chain.active->image;
  if (!chain.below && !active.backing()) {
    // A failure is met again, and reported, by the change itself.
    const Result<Extent> extent = active.Map(offset, length, MapDetail::kFast);
    if (extent && extent->kind == ExtentKind::kUnallocated) return {extent->length, true};
  }
  return {std::min(length, kPart - offset.Within(kPart)), false};
}

}  // namespace

Disk::Disk(std::string name, std::shared_ptr<Chain> chain, BlockContext& context)
    : name_(std::move(name)), context_(context), access_(context.wake_up()) {
  const Result<FileStat> stat = chain->active->image->file().Stat();
  if (stat) changes_.SetModified(stat->modified);
  chain_.Publish(std::move(chain));
}

Result<std::unique_ptr<Disk>> Disk::Open(std::string name, Layers layers, BlockContext& context) {
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, Chain::Make(std::move(layers), context));
  return std::unique_ptr<Disk>(new Disk(std::move(name), std::move(chain), context));
}

Disk::~Disk() {
  const WriteGate::Closure gate(gate_);
  if (writes_) context_.stacks().EndWriting(*chain()->active);
}

bool Disk::AllowWriting() {
  const WriteGate::Closure gate(gate_);
  if (!writes_) writes_ = context_.stacks().BeginWriting(*chain()->active);
  access_.SetStopped(!writes_);
  return writes_;
}

bool Disk::StopWriting() {
  if (!access_.Stop()) return false;
  const WriteGate::Closure gate(gate_);
  if (std::exchange(writes_, false)) context_.stacks().EndWriting(*chain()->active);
  return true;
}

std::string Disk::ReadOnlyReason() const {
  if (!read_only()) return {};
  if (std::string why = access_.Reason(); !why.empty()) return why;
  std::string why = chain()->active->ReadOnlyReason();
  return why.empty() ? "it is just being made so, or writable again" : why;
}

void Disk::RemoveTap(const WriteTap& tap) {
  std::shared_ptr<WriteTap> gone;  // destroyed with the gate open
  const WriteGate::Closure gate(gate_);
  gone = taps_.Remove(tap);
}

Result<size_t> Disk::Read(GuestOffset offset, std::span<std::byte> out) {
  const LatencyTimer timer(load_, &DiskLoad::reads, out.size());
  Result<size_t> read = chain()->Read(context_.decoded(), offset, out);
  if (!read) {
    errors_.Tell(*this, "read", read.error());
  } else if (*read > 0) {
    read_taps_.Tell(offset, *read);
  }
  return read;
}

Result<WritableImage*> Disk::ImageToChange(const Chain& chain, GuestOffset offset,
                                           uint64_t length) const {
  WritableImage* const active = chain.active->image->writer();
  if (!access_.permitted() || active == nullptr || !active->writable()) {
    const std::string why = ReadOnlyReason();
    const bool has_overlay = why.ends_with(" is built on it");
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{} is read-only: {}{}", name_, why,
                            has_overlay ? "; to write, create an overlay of it and use that" : ""));
  }
  const uint64_t size = active->virtual_size();
  if (offset.value > size || length > size - offset.value) {
    return Fail(
        ErrorKind::kNoSpace,
        fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes); resize it first",
                    name_, length, offset.value, size));
  }
  return active;
}

template <typename Change>
Status Disk::ChangeActive(std::string_view operation, GuestOffset offset, uint64_t length,
                          const Change& change) {
  Status status;
  {
    CHAINFS_SYNC_POINT("Disk.ChangeActive.waiting-for-gate");
    const WriteGate::Passage gate(gate_);
    const ChainPtr chain = this->chain();
    CHAINFS_SYNC_POINT("Disk.ChangeActive.chain-chosen");
    CHAINFS_ASSIGN(WritableImage* const active, ImageToChange(*chain, offset, length));
    if (length == 0) return {};
    status = change(Target{*chain, *active, taps_});
    changes_.Add();
  }
  if (status) changes_.SetModifiedNow();
  return Observed(operation, std::move(status));
}

Status Disk::Write(GuestOffset offset, std::span<const std::byte> data) {
  const LatencyTimer timer(load_, &DiskLoad::writes, data.size());
  return ChangeActive("write", offset, data.size(), [&](const Target& target) {
    return target.taps.Around(offset, data.size(), [&] {
      return target.image.Write(offset, data, target.chain.below.get());
    });
  });
}

template <typename Change>
Status Disk::ZeroInParts(std::string_view operation, GuestOffset offset, uint64_t length,
                         const StopFunction& stop, const Change& change) {
  uint64_t done = 0;
  do {
    const GuestOffset at = offset + done;
    ZeroPart part;
    CHAINFS_TRY(ChangeActive(operation, at, length - done, [&](const Target& target) -> Status {
      part = NextZeroPart(target.chain, at, length - done);
      if (part.is_zero) return {};
      return target.taps.Around(at, part.length, [&] { return change(target, at, part.length); });
    }));
    done += part.length;
    if (done < length && stop && stop()) {
      return Fail(ErrorKind::kCancelled, fmt::format("{}: {} was interrupted after {} of {} bytes",
                                                     name_, operation, done, length));
    }
  } while (done < length);
  return {};
}

Status Disk::WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                         const StopFunction& stop) {
  const auto zero = [&](const Target& target, GuestOffset at, uint64_t bytes) {
    return target.image.WriteZeroes(at, bytes, keep_allocated, target.chain.below.get());
  };
  return ZeroInParts("write-zeroes", offset, length, stop, zero);
}

Status Disk::Discard(GuestOffset offset, uint64_t length, const StopFunction& stop) {
  const auto discard = [](const Target& target, GuestOffset at, uint64_t bytes) {
    return target.image.Discard(at, bytes);
  };
  return ZeroInParts("discard", offset, length, stop, discard);
}

// What was written before a switch was flushed by it; the active layer has all the rest.
Status Disk::FlushActive() {
  const uint64_t changes = changes_.Get();
  Status flushed = FlushImage(*chain()->active->image);
  if (flushed) changes_.Covered(changes);
  return Observed("flush", std::move(flushed));
}

bool Disk::NeedsFlush() const {
  const ChainPtr chain = this->chain();
  Image& active = *chain->active->image;
  if (!active.writable()) return false;
  return changes_.AnyUnflushed() || (!access_.stopped() && active.writer()->HasPending());
}

Status Disk::Settle() {
  // A dereference durable, the clusters free, that durable too: three. More than a few means that
  // somebody reads or writes all the time.
  constexpr int kMostFlushes = 4;
  for (int i = 0; i < kMostFlushes; ++i) {
    const ChainPtr chain = this->chain();
    WritableImage* const active = chain->active->image->writer();
    if (!changes_.AnyUnflushed() && (active == nullptr || !active->HasPending())) break;
    CHAINFS_TRY(FlushActive());
  }
  return {};
}

Status Disk::Grow(uint64_t new_size, const StopFunction& stop) {
  for (;;) {
    CHAINFS_ASSIGN(const bool all, GrowPart(new_size));
    if (all) return {};
    if (stop && stop()) {
      return Fail(ErrorKind::kCancelled,
                  fmt::format("{}: growing to {} bytes was interrupted; it has {} bytes now", name_,
                              new_size, size()));
    }
  }
}

Result<bool> Disk::GrowPart(uint64_t new_size) {
  // What the backing has there must be hidden, cluster by cluster.
  constexpr uint64_t kPart = 1ull << 30;
  Status status;
  bool all = true;
  {
    const WriteGate::Closure gate(gate_);
    const ChainPtr chain = this->chain();
    CHAINFS_ASSIGN(WritableImage* const active, ImageToChange(*chain, GuestOffset(), 0));
    const uint64_t size = active->virtual_size();
    if (new_size < size) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("{}: cannot shrink from {} to {} bytes: what lies beyond would be lost",
                      name_, size, new_size));
    }
    if (new_size == size) return true;
    const uint64_t backing_size = chain->LongestBelow();
    uint64_t target = new_size;
    if (backing_size > size && new_size - size > kPart) target = RoundUp(size + kPart, kPart);
    target = std::min(target, new_size);
    all = target == new_size;
    status = taps_.Around(GuestOffset(size), target - size,
                          [&] { return active->Grow(target, chain->below.get(), backing_size); });
    changes_.Add();
  }
  if (status) changes_.SetModifiedNow();
  CHAINFS_TRY(Observed("resize", std::move(status)));
  return all;
}

Status Disk::Shrink(uint64_t new_size, Tail tail) {
  // How often it is looked through, while the guest goes on writing.
  constexpr int kTries = 8;
  for (int i = 0; i < kTries; ++i) {
    const uint64_t changes = changes_.Get();
    if (tail == Tail::kMustBeEmpty) CHAINFS_TRY(CheckTailEmpty(*chain(), name_, new_size));
    CHAINFS_SYNC_POINT("Disk.Shrink.closing-gate");
    Status status;
    {
      const WriteGate::Closure gate(gate_);
      CHAINFS_ASSIGN(WritableImage* const active,
                     ImageToChange(*chain(), GuestOffset(new_size), 0));
      if (new_size == active->virtual_size()) return {};
      if (!taps_.empty()) {
        return Fail(ErrorKind::kBusy, fmt::format("{}: a job follows what the disk shows", name_));
      }
      if (tail == Tail::kMustBeEmpty && changes_.Get() != changes) continue;
      const CutCount::Cut cut(active->cuts());
      status = active->Shrink(new_size);
      changes_.Add();
    }
    if (status) changes_.SetModifiedNow();
    return Observed("resize", std::move(status));
  }
  return Fail(ErrorKind::kBusy,
              fmt::format("{}: it is being written all the time, so it is not certain that its end "
                          "is empty; try again, or say shrink=yes",
                          name_));
}

Result<StackExtent> Disk::Map(GuestOffset offset, uint64_t length, MapDetail detail) const {
  return chain()->Map(offset, length, detail);
}

Status Disk::SwitchActive(const LayerPtr& overlay, const std::function<Status()>& make_durable) {
  // The long part of the flush, while guests go on writing. Nobody flushes this layer afterwards.
  CHAINFS_TRY(FlushActive());
  CHAINFS_TRY(Settle());
  Status flushed;
  {
    CHAINFS_SYNC_POINT("Disk.SwitchActive.closing-gate");
    ChainSwitch quiet(*this);
    Layers layers = chain()->AllLayers();
    if (overlay->image->virtual_size() != layers.front()->image->virtual_size()) {
      return Fail(ErrorKind::kStale, fmt::format("{}: the disk was resized meanwhile", name_));
    }
    flushed = quiet.Flush();
    if (flushed) {
      layers.insert(layers.begin(), overlay);
      CHAINFS_TRY(quiet.Prepare(std::move(layers)));
      CHAINFS_TRY(make_durable());
      quiet.Publish();
    }
  }
  return Observed("flush", std::move(flushed));
}

Status Disk::ContinueOn(Layers layers, const std::function<Status()>& last_round,
                        const std::function<Status()>& make_durable) {
  CHAINFS_SYNC_POINT("Disk.ContinueOn.closing-gate");
  const LayerPtr to = layers.front();
  // What was acknowledged lies in it also where the disk goes on above it. Most of it goes before
  // anybody has to wait.
  const bool freezes = std::ranges::find(layers, chain()->active) != layers.end();
  if (freezes) CHAINFS_TRY(FlushActive());
  ChainSwitch quiet(*this);
  CHAINFS_TRY(quiet.CheckWritable());
  CHAINFS_TRY(last_round());
  if (freezes) CHAINFS_TRY(quiet.Flush());
  if (to->image->virtual_size() < size()) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {} has {} bytes, the disk has {}; enlarge it first", name_,
                            to->path, to->image->virtual_size(), size()));
  }
  const uint64_t changes = changes_.Get();
  CHAINFS_TRY(FlushImage(*to->image));
  CHAINFS_TRY(quiet.Prepare(std::move(layers)));
  CHAINFS_TRY(make_durable());
  quiet.Publish();
  changes_.Covered(changes);
  return {};
}

Status Disk::ReplaceLayers(Layers layers) {
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, Chain::Make(std::move(layers), context_));
  chain_.Publish(std::move(chain));
  return {};
}

Status Disk::GoBack(Layers layers, const std::function<Status()>& make_durable) {
  const WriteGate::Closure gate(gate_);
  if (writes_ || !access_.stopped()) {
    return Fail(ErrorKind::kBusy, fmt::format("{}: the disk is being written", name_));
  }
  if (!taps_.empty()) {
    return Fail(ErrorKind::kBusy, fmt::format("{}: a job follows what the disk shows", name_));
  }
  // Everything that can fail comes before make_durable; nothing can after it.
  const Result<FileStat> stat = layers.front()->image->file().Stat();
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, Chain::Make(std::move(layers), context_));
  CHAINFS_TRY(make_durable());
  chain_.Publish(std::move(chain));
  changes_.Covered(changes_.Get());
  if (stat) changes_.SetModified(stat->modified);
  return {};
}

}  // namespace chainfs
