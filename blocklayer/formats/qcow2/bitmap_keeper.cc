// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "blocklayer/formats/qcow2/bitmap_list.h"
#include "blocklayer/formats/qcow2/bitmap_table.h"

namespace chainfs::qcow2 {
namespace {

// Bits are read at once, when an image is first written. Bitmaps that all together have more bytes
// than this are given up: a year of petabytes has less.
constexpr uint64_t kMaxBitsRead = 1ull << 30;
constexpr size_t kMaxBitmapsOfImage = 65535;
constexpr uint64_t kMaxDirectoryBytes = 64ull << 20;

std::unexpected<Error> BadBitmap(const File& file, ErrorKind kind, std::string_view name,
                                 std::string_view why) {
  return Fail(kind, fmt::format("{}: bitmap \"{}\" {}", file.path(), name, why));
}

}  // namespace

uint64_t BitmapKeeper::EntriesFor(uint32_t granularity_bits) const {
  return BitmapTableEntries(tables_.geometry, granularity_bits, tables_.header.virtual_size());
}

bool BitmapKeeper::Load(const StoredBitmap& bitmap, bool recording, uint64_t& budget) {
  const uint64_t size = tables_.header.virtual_size();
  Result<DirtyBits> bits = DirtyBits::Make(memory_, bitmap.granularity_bits, size);
  if (!bits) return false;
  const Status loaded =
      ForEachDirtyCluster(tables_.file, tables_.geometry, bitmap, size, budget,
                          [&](uint64_t first_bit, std::span<const std::byte> bytes) -> Status {
                            budget -= bytes.size();
                            bits->Merge(first_bit, bytes);
                            return {};
                          });
  if (!loaded) return false;
  recorder_.Add(bitmap.name, *std::move(bits), recording);
  return true;
}

Status BitmapKeeper::BeginAtFirst() {
  MutexLock lock(mu_);
  if (begun_.load(std::memory_order_acquire)) return {};
  CHAINFS_ASSIGN(known_, ReadBitmapDirectory(tables_.file, tables_.header.header()));
  std::vector<StoredBitmap> marked;
  for (StoredBitmap& bitmap : known_) {
    if (!bitmap.enabled() || bitmap.in_use()) continue;
    bitmap.flags |= kBitmapInUse;
    marked.push_back(bitmap);
  }
  Status status = storage_.WriteFlags(marked);
  if (!status) {
    known_.clear();
    return status;
  }
  uint64_t budget = kMaxBitsRead;
  for (StoredBitmap& bitmap : marked) {
    bitmap.flags &= ~kBitmapInUse;
    // One that cannot be used stays in use.
    if (WhyUnusable(bitmap, tables_.geometry, tables_.header.virtual_size()).empty()) {
      (void)Load(bitmap, true, budget);
    }
  }
  begun_.store(true, std::memory_order_release);
  return {};
}

Status BitmapKeeper::PrepareToResize() {
  MutexLock lock(mu_);
  std::vector<StoredBitmap> marked;
  std::vector<size_t> places;
  for (size_t i = 0; i < known_.size(); ++i) {
    if (known_[i].in_use()) continue;
    known_[i].flags |= kBitmapInUse;
    marked.push_back(known_[i]);
    places.push_back(i);
  }
  if (Status written = storage_.WriteFlags(marked); !written) {
    for (const size_t i : places) known_[i].flags &= ~kBitmapInUse;
    return written;
  }
  uint64_t budget = kMaxBitsRead;
  for (StoredBitmap& bitmap : marked) {
    bitmap.flags &= ~kBitmapInUse;
    if (WhyUnusable(bitmap, tables_.geometry, tables_.header.virtual_size()).empty()) {
      (void)Load(bitmap, false, budget);
    }
  }
  return {};
}

Status BitmapKeeper::StoreOne(StoredBitmap& bitmap) {
  const uint64_t entries = EntriesFor(bitmap.granularity_bits);
  // What has no legal form stays in use.
  if (entries == 0 || entries > kMaxBitmapBytes >> tables_.geometry.cluster_bits) return {};
  std::vector<uint64_t> unused;
  const StoredBitmap before = bitmap;
  CHAINFS_TRY(storage_.WriteBits(
      bitmap, entries,
      [&](uint64_t first_bit, std::span<std::byte> out) {
        return recorder_.Fetch(bitmap.name, first_bit, out);
      },
      unused));
  bitmap.flags &= ~kBitmapInUse;
  Status status = bitmap.table == before.table ? storage_.WriteFlags(std::span(&bitmap, 1))
                                               : storage_.SwitchDirectory(known_);
  if (!status) {
    bitmap = before;  // as the directory has it
    return status;
  }
  storage_.Drop(unused);
  recorder_.Remove(bitmap.name);
  return {};
}

Status BitmapKeeper::Store() {
  MutexLock lock(mu_);
  if (!begun_.load(std::memory_order_acquire)) return {};
  Status first;
  for (StoredBitmap& bitmap : known_) {
    if (!recorder_.Holds(bitmap.name)) continue;
    Status stored = StoreOne(bitmap);
    if (!stored && first) first = std::move(stored);
  }
  // Those that could not be stored stay in use on disk for good.
  recorder_.RemoveAll();
  known_.clear();
  begun_.store(false, std::memory_order_release);
  return first;
}

Result<StoredBitmap*> BitmapKeeper::Find(const std::string& name) {
  const auto found = std::ranges::find(known_, name, &StoredBitmap::name);
  if (found != known_.end()) return &*found;
  return BadBitmap(tables_.file, ErrorKind::kNotFound, name, "does not exist");
}

Result<StoredBitmap*> BitmapKeeper::FindUsable(const std::string& name) {
  CHAINFS_ASSIGN(StoredBitmap* const bitmap, Find(name));
  if (recorder_.Holds(name)) return bitmap;
  if (bitmap->in_use()) {
    return BadBitmap(tables_.file, ErrorKind::kInvalidArgument, name,
                     "is inconsistent: it was not stored, and can only be removed");
  }
  const std::string why = WhyUnusable(*bitmap, tables_.geometry, tables_.header.virtual_size());
  if (why.empty()) return bitmap;
  return BadBitmap(tables_.file, ErrorKind::kInvalidArgument, name,
                   fmt::format("has {}, and can only be removed", why));
}

Status BitmapKeeper::CheckNew(const BitmapChange& change) {
  const auto refuse = [&](std::string_view why) {
    return BadBitmap(tables_.file, ErrorKind::kInvalidArgument, change.name, why);
  };
  const auto bits = static_cast<uint32_t>(std::countr_zero(change.granularity));
  if (change.name.empty() || change.name.size() > kMaxBitmapNameBytes ||
      change.name.contains('\0')) {
    return refuse(fmt::format("cannot be made: a name has 1 to {} bytes", kMaxBitmapNameBytes));
  }
  if (!std::has_single_bit(change.granularity) || bits < kMinGranularityBits ||
      bits > kMaxGranularityBits) {
    return refuse(fmt::format("cannot be made: granularity must be a power of two from {} to {}",
                              1ull << kMinGranularityBits, 1ull << kMaxGranularityBits));
  }
  const uint64_t entries = EntriesFor(bits);
  if (entries == 0 || entries > kMaxBitmapBytes >> tables_.geometry.cluster_bits) {
    return refuse("cannot be made: it would be too large; use a coarser granularity");
  }
  const uint64_t directory = tables_.header.header().bitmap_directory_bytes;
  if (known_.size() >= kMaxBitmapsOfImage || directory + 2048 > kMaxDirectoryBytes) {
    return refuse("cannot be made: the image has too many");
  }
  if (Find(change.name)) {
    return BadBitmap(tables_.file, ErrorKind::kExists, change.name, "exists already");
  }
  return {};
}

Status BitmapKeeper::Add(const BitmapChange& change) {
  CHAINFS_TRY(CheckNew(change));
  const auto granularity_bits = static_cast<uint8_t>(std::countr_zero(change.granularity));
  StoredBitmap bitmap;
  bitmap.name = change.name;
  bitmap.granularity_bits = granularity_bits;
  bitmap.flags = change.disabled ? 0 : kBitmapAuto | kBitmapInUse;
  bitmap.table_entries = static_cast<uint32_t>(EntriesFor(granularity_bits));
  CHAINFS_ASSIGN(bitmap.table, storage_.NewTable(bitmap.table_entries));
  if (!change.disabled) {
    CHAINFS_ASSIGN(DirtyBits bits,
                   DirtyBits::Make(memory_, granularity_bits, tables_.header.virtual_size()));
    recorder_.Add(bitmap.name, std::move(bits), true);
  }
  known_.push_back(bitmap);
  Status switched = storage_.SwitchDirectory(known_);
  if (switched) return {};
  known_.pop_back();
  if (!change.disabled) recorder_.Remove(change.name);
  const Result<std::vector<uint64_t>> clusters = storage_.ClustersOf(bitmap);
  if (clusters && !tables_.header.uncertain()) storage_.Drop(*clusters);
  return switched;
}

Status BitmapKeeper::Remove(const std::string& name) {
  CHAINFS_ASSIGN(const StoredBitmap* const found, Find(name));
  const StoredBitmap bitmap = *found;
  CHAINFS_ASSIGN(const std::vector<uint64_t> clusters, storage_.ClustersOf(bitmap));
  std::vector<StoredBitmap> rest;
  std::ranges::copy_if(known_, std::back_inserter(rest),
                       [&](const StoredBitmap& other) { return other.name != name; });
  CHAINFS_TRY(storage_.SwitchDirectory(rest));
  known_ = std::move(rest);
  if (recorder_.Holds(name)) recorder_.Remove(name);
  storage_.Drop(clusters);
  return {};
}

Status BitmapKeeper::Clear(const std::string& name) {
  CHAINFS_ASSIGN(StoredBitmap* const bitmap, FindUsable(name));
  if (recorder_.Holds(name)) {
    recorder_.Clear(name);
    return {};
  }
  CHAINFS_ASSIGN(const std::vector<uint64_t> clusters, storage_.ClustersOf(*bitmap));
  const HostOffset old = bitmap->table;
  CHAINFS_ASSIGN(bitmap->table, storage_.NewTable(bitmap->table_entries));
  if (Status switched = storage_.SwitchDirectory(known_); !switched) {
    bitmap->table = old;
    return switched;
  }
  storage_.Drop(clusters);
  return {};
}

Status BitmapKeeper::SetFlags(StoredBitmap& bitmap, uint32_t flags) {
  const uint32_t old = std::exchange(bitmap.flags, flags);
  Status written = storage_.WriteFlags(std::span(&bitmap, 1));
  if (!written) bitmap.flags = old;
  return written;
}

Status BitmapKeeper::Enable(const std::string& name) {
  CHAINFS_ASSIGN(StoredBitmap* const bitmap, FindUsable(name));
  if (bitmap->enabled()) return {};
  const bool held = recorder_.Holds(name);
  uint64_t budget = kMaxBitsRead;
  if (!held && !Load(*bitmap, false, budget)) {
    return BadBitmap(tables_.file, ErrorKind::kNoMemory, name,
                     "cannot be read into memory; mount with more metadata_memory");
  }
  recorder_.SetRecording(name, true);
  Status written = SetFlags(*bitmap, bitmap->flags | kBitmapAuto | kBitmapInUse);
  if (written) return {};
  recorder_.SetRecording(name, false);
  if (!held) recorder_.Remove(name);
  return written;
}

Status BitmapKeeper::Disable(const std::string& name) {
  CHAINFS_ASSIGN(StoredBitmap* const bitmap, FindUsable(name));
  if (!bitmap->enabled()) return {};
  recorder_.SetRecording(name, false);
  bitmap->flags &= ~kBitmapAuto;
  Status stored = StoreOne(*bitmap);
  if (stored) return {};
  bitmap->flags |= kBitmapAuto;
  recorder_.SetRecording(name, true);
  return stored;
}

Status BitmapKeeper::Change(const BitmapChange& change) {
  MutexLock lock(mu_);
  switch (change.kind) {
    case BitmapChange::Kind::kAdd:
      return Add(change);
    case BitmapChange::Kind::kRemove:
      return Remove(change.name);
    case BitmapChange::Kind::kClear:
      return Clear(change.name);
    case BitmapChange::Kind::kEnable:
      return Enable(change.name);
    case BitmapChange::Kind::kDisable:
      return Disable(change.name);
  }
  std::unreachable();
}

Result<std::vector<BitmapInfo>> BitmapKeeper::List() {
  MutexLock lock(mu_);
  CHAINFS_ASSIGN(std::vector<BitmapInfo> bitmaps,
                 ListBitmaps(tables_.file, tables_.header.header(), tables_.header.virtual_size()));
  for (BitmapInfo& bitmap : bitmaps) {
    const std::optional<uint64_t> dirty = recorder_.DirtyBytes(bitmap.name);
    if (!dirty) continue;
    bitmap.inconsistent = false;
    bitmap.dirty_bytes = dirty;
  }
  return bitmaps;
}

}  // namespace chainfs::qcow2
