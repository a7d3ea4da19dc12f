// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/base/wake_up.h"
#include "blocklayer/chain/extent_reader.h"
#include "blocklayer/chain/stack_registry.h"

namespace chainfs {
namespace {

constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

int64_t ToNanoseconds(const timespec& time) {
  return time.tv_sec * kNanosecondsPerSecond + time.tv_nsec;
}

int64_t Now() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return ToNanoseconds(now);
}

Result<std::shared_ptr<Chain>> MakeChain(Layers layers, BlockContext& context) {
  auto chain = std::make_shared<Chain>();
  chain->active = layers.front();
  layers.erase(layers.begin());
  if (!layers.empty()) {
    CHAINFS_ASSIGN(chain->below, LayerStack::Make(std::move(layers), context));
  }
  return chain;
}

// Up to where a layer below the active one has contents. What is longer than the layer above it
// does not show, but would once a stream has left that layer out.
uint64_t BackingSize(const Chain& chain) {
  uint64_t longest = 0;
  if (!chain.below) return longest;
  for (const LayerPtr& layer : chain.below->layers()) {
    longest = std::max(longest, layer->image->virtual_size());
  }
  return longest;
}

// One that is never written has nothing to flush.
Status FlushImage(Image& image) {
  WritableImage* const writer = image.writer();
  return writer != nullptr ? writer->Flush() : Status();
}

// The caller asked for what cannot be; nobody else needs to hear of it.
bool IsCallersFault(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kReadOnly:
    case ErrorKind::kUnsupported:
    case ErrorKind::kStale:
    case ErrorKind::kCancelled:
    case ErrorKind::kShutdown:
      return true;
    default:
      return false;
  }
}

}  // namespace

// Keeps new writers waiting, and with them out, takes the gate once those under way have ended.
class SCOPED_CAPABILITY Disk::GateCloser {
 public:
  explicit GateCloser(Disk& disk) ACQUIRE(disk.write_gate_) : disk_(disk) {
    {
      MutexLock lock(disk_.gate_mu_);
      disk_.closing_.fetch_add(1, std::memory_order_seq_cst);
    }
    disk_.write_gate_.Lock();
  }
  ~GateCloser() RELEASE() {
    disk_.write_gate_.Unlock();
    MutexLock lock(disk_.gate_mu_);
    disk_.closing_.fetch_sub(1, std::memory_order_seq_cst);
    disk_.gate_opened_.NotifyAll();
  }
  GateCloser(const GateCloser&) = delete;
  GateCloser& operator=(const GateCloser&) = delete;

 private:
  Disk& disk_;
};

Layers Chain::AllLayers() const {
  Layers layers;
  layers.reserve(depth());
  layers.push_back(active);
  if (below) layers.insert(layers.end(), below->layers().begin(), below->layers().end());
  return layers;
}

Disk::Disk(std::string name, std::shared_ptr<Chain> chain, BlockContext& context)
    : name_(std::move(name)), context_(context), access_(context.wake_up()) {
  const Result<FileStat> stat = chain->active->image->file().Stat();
  if (stat) modified_ns_.store(ToNanoseconds(stat->modified), std::memory_order_relaxed);
  Publish(std::move(chain));
}

Result<std::unique_ptr<Disk>> Disk::Open(std::string name, Layers layers, BlockContext& context) {
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, MakeChain(std::move(layers), context));
  return std::unique_ptr<Disk>(new Disk(std::move(name), std::move(chain), context));
}

Disk::~Disk() {
  const WriterLock gate(write_gate_);
  if (writes_) context_.stacks().EndWriting(*chain()->active);
}

bool Disk::AllowWriting() {
  const GateCloser gate(*this);
  if (!writes_) writes_ = context_.stacks().BeginWriting(*chain()->active);
  access_.SetStopped(!writes_);
  return writes_;
}

bool Disk::StopWriting() {
  if (!access_.Stop()) return false;
  const GateCloser gate(*this);
  if (std::exchange(writes_, false)) context_.stacks().EndWriting(*chain()->active);
  return true;
}

std::optional<DiskAccess::Ticket> Disk::AdmitWriter() {
  // Counted before the question, see disk_access.h.
  DiskAccess::Ticket ticket = access_.CountWriter();
  if (read_only()) return std::nullopt;
  return ticket;
}

bool Disk::read_only() const { return !access_.permitted() || !chain()->active->image->writable(); }

std::string Disk::ReadOnlyReason() const {
  if (!read_only()) return {};
  if (std::string why = access_.Reason(); !why.empty()) return why;
  std::string why = chain()->active->ReadOnlyReason();
  return why.empty() ? "it is just being made so, or writable again" : why;
}

ChainPtr Disk::chain() const {
  ReaderLock lock(chain_mu_);
  return chain_;
}

uint64_t Disk::size() const { return chain()->active->image->virtual_size(); }

timespec Disk::modified() const {
  const int64_t ns = modified_ns_.load(std::memory_order_relaxed);
  int64_t seconds = ns / kNanosecondsPerSecond;
  int64_t rest = ns % kNanosecondsPerSecond;
  if (rest < 0) {
    rest += kNanosecondsPerSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

Result<uint64_t> Disk::AllocatedBytes() const {
  const ChainPtr chain = this->chain();
  CHAINFS_ASSIGN(uint64_t bytes, chain->active->image->AllocatedBytes());
  if (!chain->below) return bytes;
  for (const LayerPtr& layer : chain->below->layers()) {
    CHAINFS_ASSIGN(const uint64_t more, layer->image->AllocatedBytes());
    bytes += more;
  }
  return bytes;
}

void Disk::SetErrorObserver(ErrorObserver observer) {
  auto shared = observer ? std::make_shared<const ErrorObserver>(std::move(observer)) : nullptr;
  MutexLock lock(observer_mu_);
  observer_.swap(shared);
}

void Disk::Observe(std::string_view operation, const Error& error) const {
  if (IsCallersFault(error.kind)) return;
  std::shared_ptr<const ErrorObserver> observer;
  {
    MutexLock lock(observer_mu_);
    observer = observer_;
  }
  if (observer) (*observer)(*this, operation, error);
}

Status Disk::Observed(std::string_view operation, Status status) const {
  if (!status) Observe(operation, status.error());
  return status;
}

Result<size_t> Disk::Read(GuestOffset offset, std::span<std::byte> out) {
  const LatencyTimer timer(load_, &DiskLoad::reads, out.size());
  const ChainPtr chain = this->chain();
  Result<size_t> read = ReadFrom(*chain, offset, out);
  if (!read) Observe("read", read.error());
  return read;
}

Result<size_t> Disk::ReadFrom(const Chain& chain, GuestOffset offset,
                              std::span<std::byte> out) const {
  Image& active = *chain.active->image;
  const uint64_t size = active.virtual_size();
  if (offset.value >= size) return 0;
  out = out.first(std::min<uint64_t>(out.size(), size - offset.value));
  const size_t total = out.size();

  const IoEpoch::Guard guard = active.io_epoch().Enter();
  ExtentReader reader(context_.decoded());
  while (!out.empty()) {
    CHAINFS_ASSIGN(const Extent extent, active.Map(offset, out.size(), MapDetail::kFast));
    const std::span<std::byte> piece = out.first(std::min<uint64_t>(out.size(), extent.length));
    if (extent.kind == ExtentKind::kUnallocated && chain.below) {
      CHAINFS_TRY(chain.below->ReadBelow(offset, piece));
    } else {
      CHAINFS_TRY(reader.Add(*chain.active, extent, offset, piece));
    }
    offset += piece.size();
    out = out.subspan(piece.size());
  }
  CHAINFS_TRY(reader.Finish());
  return total;
}

void Disk::WaitForOpenGate() {
  if (closing_.load(std::memory_order_seq_cst) == 0) return;
  MutexLock lock(gate_mu_);
  while (closing_.load(std::memory_order_seq_cst) != 0) gate_opened_.Wait(gate_mu_);
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
    WaitForOpenGate();
    ReaderLock gate(write_gate_);
    const ChainPtr chain = this->chain();
    CHAINFS_SYNC_POINT("Disk.ChangeActive.chain-chosen");
    CHAINFS_ASSIGN(WritableImage* const active, ImageToChange(*chain, offset, length));
    if (length == 0) return {};
    status = change(*chain, *active);
    changes_.fetch_add(1, std::memory_order_release);
  }
  if (status) modified_ns_.store(Now(), std::memory_order_relaxed);
  return Observed(operation, std::move(status));
}

Status Disk::Write(GuestOffset offset, std::span<const std::byte> data) {
  const LatencyTimer timer(load_, &DiskLoad::writes, data.size());
  return ChangeActive("write", offset, data.size(), [&](const Chain& chain, WritableImage& active) {
    return active.Write(offset, data, chain.below.get());
  });
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

template <typename Change>
Status Disk::ZeroInParts(std::string_view operation, GuestOffset offset, uint64_t length,
                         const StopFunction& stop, const Change& change) {
  uint64_t done = 0;
  do {
    const GuestOffset at = offset + done;
    ZeroPart part;
    const auto change_part = [&](const Chain& chain, WritableImage& active) -> Status {
      part = NextZeroPart(chain, at, length - done);
      return part.is_zero ? Status() : change(chain, active, at, part.length);
    };
    CHAINFS_TRY(ChangeActive(operation, at, length - done, change_part));
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
  const auto zero = [&](const Chain& chain, WritableImage& active, GuestOffset at, uint64_t bytes) {
    return active.WriteZeroes(at, bytes, keep_allocated, chain.below.get());
  };
  return ZeroInParts("write-zeroes", offset, length, stop, zero);
}

Status Disk::Discard(GuestOffset offset, uint64_t length, const StopFunction& stop) {
  const auto discard = [](const Chain&, WritableImage& active, GuestOffset at, uint64_t bytes) {
    return active.Discard(at, bytes);
  };
  return ZeroInParts("discard", offset, length, stop, discard);
}

Status Disk::Flush() {
  const LatencyTimer timer(load_, &DiskLoad::flushes, 0);
  return FlushActive();
}

// What was written before a switch was flushed by it; the active layer has all the rest.
Status Disk::FlushActive() {
  const uint64_t changes = changes_.load(std::memory_order_acquire);
  Status flushed = FlushImage(*chain()->active->image);
  if (flushed) {
    uint64_t covered = flushed_changes_.load(std::memory_order_relaxed);
    while (covered < changes && !flushed_changes_.compare_exchange_weak(covered, changes)) {
    }
  }
  return Observed("flush", std::move(flushed));
}

bool Disk::HasUnflushedChanges() const {
  return changes_.load(std::memory_order_acquire) !=
         flushed_changes_.load(std::memory_order_acquire);
}

bool Disk::NeedsFlush() const {
  const ChainPtr chain = this->chain();
  Image& active = *chain->active->image;
  if (!active.writable()) return false;
  return HasUnflushedChanges() || (!access_.stopped() && active.writer()->HasPending());
}

Status Disk::Settle() {
  // A dereference durable, the clusters free, that durable too: three. More than a few means that
  // somebody reads or writes all the time.
  constexpr int kMostFlushes = 4;
  for (int i = 0; i < kMostFlushes; ++i) {
    const ChainPtr chain = this->chain();
    WritableImage* const active = chain->active->image->writer();
    if (!HasUnflushedChanges() && (active == nullptr || !active->HasPending())) break;
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
    GateCloser gate(*this);
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
    const uint64_t backing_size = BackingSize(*chain);
    uint64_t target = new_size;
    if (backing_size > size && new_size - size > kPart) target = RoundUp(size + kPart, kPart);
    target = std::min(target, new_size);
    all = target == new_size;
    status = active->Grow(target, chain->below.get(), backing_size);
    changes_.fetch_add(1, std::memory_order_release);
  }
  if (status) modified_ns_.store(Now(), std::memory_order_relaxed);
  CHAINFS_TRY(Observed("resize", std::move(status)));
  return all;
}

Result<StackExtent> Disk::Map(GuestOffset offset, uint64_t length, MapDetail detail) const {
  const ChainPtr chain = this->chain();
  Image& active = *chain->active->image;
  const uint64_t size = active.virtual_size();
  if (offset.value >= size) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: offset {} lies past the end of the disk ({} bytes)", name_,
                            offset.value, size));
  }
  length = std::min(length, size - offset.value);
  const IoEpoch::Guard guard = active.io_epoch().Enter();
  CHAINFS_ASSIGN(const Extent extent, active.Map(offset, length, detail));
  if (extent.kind == ExtentKind::kUnallocated && chain->below) {
    CHAINFS_ASSIGN(StackExtent found, chain->below->Map(offset, extent.length, detail));
    if (found.kind != ExtentKind::kUnallocated) ++found.layer;
    return found;
  }
  return StackExtent{.kind = extent.kind,
                     .length = extent.length,
                     .layer = 0,
                     .host = extent.host,
                     .compressed_bytes = extent.compressed_bytes,
                     .source = extent.source};
}

Status Disk::SwitchQuietly(const LayerPtr& overlay, const std::function<Status()>& make_durable) {
  StackRegistry& stacks = context_.stacks();
  const ChainPtr old = chain();
  if (!writes_ || !stacks.BeginWriting(*overlay)) {
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: the disk is read-only", name_));
  }
  // From here on both count as written; one of them is let go of.
  stacks.EndWriting(*old->active);
  Status switched = [&]() -> Status {
    // Everything that can fail comes before make_durable; nothing can after it.
    Layers layers = old->AllLayers();
    layers.insert(layers.begin(), overlay);
    CHAINFS_ASSIGN(std::shared_ptr<Chain> next, MakeChain(std::move(layers), context_));
    CHAINFS_TRY(make_durable());
    Publish(std::move(next));
    return {};
  }();
  if (switched) return switched;
  stacks.EndWriting(*overlay);
  // The stack that was made is gone, and nobody else had the layer.
  writes_ = stacks.BeginWriting(*old->active);
  if (!writes_) access_.Forbid("a snapshot failed, and somebody reads its layer now; mount again");
  return switched;
}

Status Disk::SwitchActive(const LayerPtr& overlay, const std::function<Status()>& make_durable) {
  // The long part of the flush, while guests go on writing. Nobody flushes this layer afterwards.
  CHAINFS_TRY(FlushActive());
  CHAINFS_TRY(Settle());
  Status flushed;
  {
    CHAINFS_SYNC_POINT("Disk.SwitchActive.closing-gate");
    GateCloser gate(*this);
    const ChainPtr old = chain();
    if (overlay->image->virtual_size() != old->active->image->virtual_size()) {
      return Fail(ErrorKind::kStale, fmt::format("{}: the disk was resized meanwhile", name_));
    }
    flushed = FlushImage(*old->active->image);
    if (flushed) CHAINFS_TRY(SwitchQuietly(overlay, make_durable));
  }
  return Observed("flush", std::move(flushed));
}

Status Disk::ReplaceLayers(Layers layers) {
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, MakeChain(std::move(layers), context_));
  Publish(std::move(chain));
  return {};
}

Status Disk::GoBack(Layers layers, const std::function<Status()>& make_durable) {
  const GateCloser gate(*this);
  if (writes_ || !access_.stopped()) {
    return Fail(ErrorKind::kBusy, fmt::format("{}: the disk is being written", name_));
  }
  // Everything that can fail comes before make_durable; nothing can after it.
  const Result<FileStat> stat = layers.front()->image->file().Stat();
  CHAINFS_ASSIGN(std::shared_ptr<Chain> chain, MakeChain(std::move(layers), context_));
  CHAINFS_TRY(make_durable());
  Publish(std::move(chain));
  flushed_changes_.store(changes_.load());
  if (stat) modified_ns_.store(ToNanoseconds(stat->modified), std::memory_order_relaxed);
  return {};
}

void Disk::Publish(std::shared_ptr<Chain> chain) {
  // The last holder of the old list may close files: not under the lock.
  ChainPtr old;
  WriterLock lock(chain_mu_);
  chain->generation = chain_ ? chain_->generation + 1 : 0;
  old = std::move(chain_);
  chain_ = std::move(chain);
  if (old) old->next = chain_;
}

}  // namespace chainfs
