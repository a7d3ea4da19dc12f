// SPDX-License-Identifier: Apache-2.0
//
// Where the tables lie: reading and changing L1 entries, and learning which clusters hold metadata.
//
// An image that is only read, or not used at all, holds nothing but the slices of its L1 table that
// were used, in the cache. Before the first change its refcount table and the places of all tables
// are learnt and charged to the cache. What a header claims costs nothing by itself.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/metadata.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

// An image with no more than this is looked through when it is opened.
constexpr uint64_t kSmallL1Entries = 1024;
constexpr uint64_t kSmallRefcountTableBytes = 128 << 10;
// And what was learnt is kept if it has no more bytes than this.
constexpr uint64_t kSmallMemory = 16 << 10;

}  // namespace

void Metadata::Load() {
  const Qcow2Header header = this->header();
  MutexLock lock(mu_);
  PublishL1(header.l1_offset, header.l1_entries);
  reftable_offset_ = header.refcount_table_offset;
}

Status Metadata::LearnEarly() {
  const Qcow2Header header = this->header();
  if (header.l1_entries > kSmallL1Entries ||
      header.refcount_table_bytes() > kSmallRefcountTableBytes) {
    return {};
  }
  MutexLock lock(mu_);
  Status learnt = LearnTables();
  if (charged_ > kSmallMemory) ForgetTables();
  // Such an image can be read as it is; and whoever changes one tries again.
  const bool passing = !learnt && (learnt.error().kind == ErrorKind::kCorrupt ||
                                   learnt.error().kind == ErrorKind::kNoMemory);
  return passing ? Status() : learnt;
}

void Metadata::PublishL1(HostOffset offset, uint64_t entries) {
  // Readers may still hold the old one; it stays.
  l1_places_.push_back(std::make_unique<L1Place>(offset, entries));
  l1_.store(l1_places_.back().get(), std::memory_order_release);
}

Result<SlicePtr> Metadata::L1Slice(const L1Place& place, uint64_t index) {
  const uint64_t number = index * 8 / geometry_.slice_bytes();
  CHAINFS_ASSIGN(SlicePtr slice, LoadSlice(place.offset + number * geometry_.slice_bytes()));
  if (number < L1Place::kHeld) {
    MutexLock lock(place.mu);
    if (place.holders[number] == nullptr) {
      place.holders[number] = slice;
      place.slices[number].store(slice.get(), std::memory_order_release);
    }
    return place.holders[number];
  }
  return slice;
}

Result<uint64_t> Metadata::L1Entry(uint64_t index) {
  const L1Place& place = *l1_.load(std::memory_order_acquire);
  if (index >= place.entries) return uint64_t{0};
  const uint64_t per_slice = geometry_.slice_bytes() / 8;
  if (index < L1Place::kHeld * per_slice) {
    const MetadataSlice* held = place.slices[index / per_slice].load(std::memory_order_acquire);
    if (held != nullptr) return held->LoadWord(index % per_slice);
  }
  CHAINFS_ASSIGN(const SlicePtr slice, L1Slice(place, index));
  return slice->LoadWord(index % per_slice);
}

Result<uint64_t> Metadata::BytesWithoutL2(GuestOffset guest) {
  const uint64_t per_slice = geometry_.slice_bytes() / 8;
  const uint64_t first = geometry_.L1Index(guest);
  const uint64_t to_next = geometry_.l2_span() - guest.Within(geometry_.l2_span());
  const L1Place& place = *l1_.load(std::memory_order_acquire);
  if (first >= place.entries) return to_next;
  CHAINFS_ASSIGN(const SlicePtr slice, L1Slice(place, first));
  const uint64_t end = std::min(place.entries, RoundDown(first, per_slice) + per_slice);
  uint64_t index = first + 1;
  while (index < end && slice->LoadWord(index % per_slice) == 0) ++index;
  return to_next + (index - first - 1) * geometry_.l2_span();
}

Result<SlicePtr> Metadata::L1SliceToChange(uint64_t index) {
  return L1Slice(*l1_places_.back(), index);
}

void Metadata::StoreL1(uint64_t index, uint64_t entry, const SlicePtr& slice) {
  const uint64_t bytes = geometry_.slice_bytes();
  slice->StoreWord(index % (bytes / 8), entry);
  MarkDirty(dirty_l1_, l1_places_.back()->offset + RoundDown(index * 8, bytes), slice);
}

Status Metadata::CopyL1(const L1Place& from, HostOffset to) {
  const uint64_t per_slice = geometry_.slice_bytes() / 8;
  for (uint64_t index = 0; index < from.entries; index += per_slice) {
    CHAINFS_ASSIGN(const SlicePtr slice, L1Slice(from, index));
    const uint64_t count = std::min(per_slice, from.entries - index);
    if (std::ranges::all_of(slice->words().first(count), [](uint64_t w) { return w == 0; })) {
      continue;
    }
    CHAINFS_TRY(file_.WriteAt(to + index * 8, slice->bytes().first(count * 8)));
  }
  return {};
}

// Calls `visit` with the place of every L2 table.
Status Metadata::ForEachL2TableOnDisk(const std::function<Status(uint64_t host)>& visit) {
  const L1Place& place = *l1_places_.back();
  return ForEachL1Entry(file_, place.offset, place.entries, [&](uint64_t, uint64_t entry) {
    const uint64_t host = entry & kEntryOffsetMask;
    return host == 0 ? Status() : visit(host);
  });
}

Status Metadata::ChargeTables(uint64_t bytes) {
  if (!cache_.Charge(charged_, bytes)) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: its tables do not fit into metadata_memory with those of the "
                            "images that are being written; mount with more of it",
                            file_.path()));
  }
  charged_ += bytes;
  return {};
}

void Metadata::ForgetTables() {
  cache_.Discharge(charged_);
  charged_ = 0;
  tables_known_ = false;
  reftable_ = RefcountTable();
  WriterLock lock(overlap_mu_);
  metadata_clusters_ = ClusterSet();
}

void Metadata::ForgetSlices(uint64_t first_cluster, uint64_t count) {
  cache_.Forget(owner_, geometry_.HostOf(first_cluster), count << geometry_.cluster_bits,
                geometry_.slice_bytes());
}

// Nothing is dirty yet, so the disk is right.
Status Metadata::LearnTables() {
  if (tables_known_) return {};
  if (corrupt()) {
    return Fail(ErrorKind::kCorrupt, fmt::format("{}: {}", file_.path(), corrupt_reason()));
  }
  const uint64_t table_bytes = uint64_t{this->header().refcount_table_clusters}
                               << geometry_.cluster_bits;
  CHAINFS_ASSIGN(reftable_, RefcountTable::Load(file_, reftable_offset_, table_bytes / 8));
  CHAINFS_ASSIGN(const uint64_t file_end, file_.Size());
  NoteWritten(file_end);
  Status found = ChargeTables(reftable_.used().size_bytes());
  if (found) found = FindMetadataClusters();
  if (found) {
    tables_known_ = true;
    return {};
  }
  ForgetTables();
  // Tables that lie on one another can be read as they are, and not changed.
  if (found.error().kind == ErrorKind::kCorrupt) RefuseChanges(found.error().message);
  return found;
}

Status Metadata::FindMetadataClusters() {
  const Qcow2Header header = this->header();
  const auto clusters = [&](uint64_t bytes) { return DivRoundUp(bytes, geometry_.cluster_size()); };
  // Counted first: nothing is allocated that is not charged.
  uint64_t tables = 4;
  CHAINFS_TRY(ForEachL2TableOnDisk([&](uint64_t /*host*/) -> Status {
    ++tables;
    return {};
  }));
  for (const uint64_t entry : reftable_.used()) tables += (entry & kRefcountOffsetMask) != 0;
  CHAINFS_TRY(ChargeTables(ClusterSet::MemoryOf(tables)));

  std::vector<ClusterSet::Run> runs;
  runs.reserve(tables);
  const auto note = [&](std::string_view what, uint64_t host, uint64_t count) -> Status {
    if ((host & (geometry_.cluster_size() - 1)) != 0) return CorruptEntry(what, host);
    if (runs.size() < runs.capacity()) runs.push_back({host >> geometry_.cluster_bits, count});
    return {};
  };
  CHAINFS_TRY(note("header", 0, 1));
  CHAINFS_TRY(
      note("L1 table offset", header.l1_offset.value, clusters(uint64_t{header.l1_entries} * 8)));
  CHAINFS_TRY(
      note("refcount table offset", reftable_offset_.value, clusters(reftable_.size() * 8)));
  for (const uint64_t entry : reftable_.used()) {
    const uint64_t host = entry & kRefcountOffsetMask;
    if (host != 0) CHAINFS_TRY(note("refcount table entry", host, 1));
  }
  CHAINFS_TRY(ForEachL2TableOnDisk([&](uint64_t host) { return note("L1 entry", host, 1); }));

  uint64_t overlap = 0;
  std::optional<ClusterSet> known = ClusterSet::Make(std::move(runs), overlap);
  if (!known) {
    return CorruptEntry("place of a table: another one lies there, at",
                        geometry_.HostOf(overlap).value);
  }
  // What nobody maintains any more is no reason to refuse the image, but is left alone, too.
  known->Add(header.bitmap_directory.value >> geometry_.cluster_bits,
             clusters(header.bitmap_directory_bytes));
  WriterLock lock(overlap_mu_);
  metadata_clusters_ = *std::move(known);
  return {};
}

}  // namespace chainfs::qcow2
