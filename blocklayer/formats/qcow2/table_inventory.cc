// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "blocklayer/formats/qcow2/corruption.h"
#include "blocklayer/formats/qcow2/metadata_extents.h"
#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {
namespace {

// An image with no more than this is looked through when it is opened.
constexpr uint64_t kSmallL1Entries = 1024;
constexpr uint64_t kSmallRefcountTableBytes = 128 << 10;
constexpr uint32_t kSmallSnapshots = 16;
// And what was learnt is kept if it has no more bytes than this.
constexpr uint64_t kSmallMemory = 16 << 10;

}  // namespace

TableInventory::~TableInventory() {
  MutexLock lock(tables_.mu);
  Forget();
}

Status TableInventory::LearnEarly() {
  const Qcow2Header header = tables_.header.header();
  if (header.l1_entries > kSmallL1Entries ||
      header.refcount_table_bytes() > kSmallRefcountTableBytes ||
      header.snapshot_count > kSmallSnapshots) {
    return {};
  }
  uint64_t entries = 0;  // of all L1 tables of snapshots
  const Result<uint64_t> summed =
      ForEachSnapshot(tables_.file, header, [&](const SnapshotEntry& snapshot) -> Status {
        entries += snapshot.l1_entries;
        return {};
      });
  if (summed && entries > kSmallL1Entries) return {};
  MutexLock lock(tables_.mu);
  Status learnt = Learn();
  if (charged_ > kSmallMemory) Forget();
  // Such an image can be read as it is; and whoever changes one tries again.
  const bool passing = !learnt && (learnt.error().kind == ErrorKind::kCorrupt ||
                                   learnt.error().kind == ErrorKind::kNoMemory);
  return passing ? Status() : learnt;
}

Status TableInventory::PrepareForWriting() {
  if (prepared()) return {};
  {
    MutexLock lock(tables_.mu);
    CHAINFS_TRY(Learn());
  }
  CHAINFS_TRY(tables_.header.ClearAutoclearFeatures());
  prepared_.store(true, std::memory_order_release);
  return {};
}

Status TableInventory::ForEachL2Table(const std::function<Status(uint64_t entry)>& visit) {
  return ForEachL1Entry(tables_.file, tables_.l1.offset(), tables_.l1.entries(),
                        [&](uint64_t, uint64_t entry) {
                          return (entry & kEntryOffsetMask) == 0 ? Status() : visit(entry);
                        });
}

Status TableInventory::Charge(uint64_t bytes) {
  if (!cache_.Charge(charged_, bytes)) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: its tables do not fit into metadata_memory with those of the "
                            "images that are being written; mount with more of it",
                            tables_.file.path()));
  }
  charged_ += bytes;
  return {};
}

void TableInventory::Forget() {
  cache_.Discharge(charged_);
  charged_ = 0;
  known_ = false;
  tables_.refcounts.SetTable(RefcountTable());
  tables_.overlap.Reset(ClusterSet());
}

// Nothing is changed yet, so the disk is right.
Status TableInventory::Learn() {
  if (known_) return {};
  if (tables_.corruption.found()) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: {}", tables_.file.path(), tables_.corruption.reason()));
  }
  const uint64_t table_bytes = tables_.header.header().refcount_table_bytes();
  CHAINFS_ASSIGN(
      RefcountTable table,
      RefcountTable::Load(tables_.file, tables_.refcounts.table_offset(), table_bytes / 8));
  tables_.refcounts.SetTable(std::move(table));
  CHAINFS_ASSIGN(const uint64_t file_end, tables_.file.Size());
  tables_.written_end.Note(file_end);
  Status found = Charge(tables_.refcounts.table().used().size_bytes());
  if (found) found = FindMetadata();
  if (found) {
    known_ = true;
    return {};
  }
  Forget();
  // Tables that lie on one another can be read as they are, and not changed.
  if (found.error().kind == ErrorKind::kCorrupt) tables_.corruption.Note(found.error().message);
  return found;
}

Result<std::vector<ClusterSet::Run>> TableInventory::ListTables() {
  const Geometry& geometry = tables_.geometry;
  const Qcow2Header header = tables_.header.header();
  const RefcountTable& reftable = tables_.refcounts.table();
  const auto clusters = [&](uint64_t bytes) { return DivRoundUp(bytes, geometry.cluster_size()); };
  uint64_t list_bytes = 0;
  const auto charge = [&](uint64_t bytes) REQUIRES(tables_.mu) -> Status {
    CHAINFS_TRY(Charge(bytes - list_bytes));
    list_bytes = bytes;
    return {};
  };
  CHAINFS_ASSIGN(const std::vector<uint64_t> inactive,
                 FindInactiveL2Tables(tables_.file, header, charge));
  // Counted first: nothing is allocated that is not charged.
  uint64_t count = 3 + inactive.size();
  CHAINFS_TRY(ForEachMetadataExtent(tables_.file, header, [&](const MetadataExtent&) -> Status {
    ++count;
    return {};
  }));
  CHAINFS_TRY(ForEachL2Table([&](uint64_t /*entry*/) -> Status {
    ++count;
    return {};
  }));
  for (const uint64_t entry : reftable.used()) count += (entry & kRefcountOffsetMask) != 0;
  CHAINFS_TRY(Charge(ClusterSet::MemoryOf(count)));

  std::vector<ClusterSet::Run> runs;
  runs.reserve(count);
  const auto note = [&](std::string_view what, uint64_t host, uint64_t length) -> Status {
    if ((host & (geometry.cluster_size() - 1)) != 0) {
      return CorruptEntry(tables_.file.path(), what, host);
    }
    if (runs.size() < runs.capacity()) runs.push_back({host >> geometry.cluster_bits, length});
    return {};
  };
  CHAINFS_TRY(note("header", 0, 1));
  CHAINFS_TRY(
      note("L1 table offset", tables_.l1.offset().value, clusters(tables_.l1.entries() * 8)));
  CHAINFS_TRY(note("refcount table offset", tables_.refcounts.table_offset().value,
                   clusters(reftable.size() * 8)));
  for (const uint64_t entry : reftable.used()) {
    const uint64_t host = entry & kRefcountOffsetMask;
    if (host != 0) CHAINFS_TRY(note("refcount table entry", host, 1));
  }
  CHAINFS_TRY(
      ForEachMetadataExtent(tables_.file, header, [&](const MetadataExtent& extent) -> Status {
        return note(extent.what, extent.host.value, clusters(extent.bytes));
      }));
  for (const uint64_t host : inactive) CHAINFS_TRY(note("L1 entry of a snapshot", host, 1));
  CHAINFS_TRY(ForEachL2Table([&](uint64_t entry) -> Status {
    const uint64_t host = entry & kEntryOffsetMask;
    if (!std::ranges::binary_search(inactive, host)) return note("L1 entry", host, 1);
    if ((entry & kEntryCopied) == 0) return {};
    return CorruptEntry(tables_.file.path(), "L1 entry: a snapshot has its table, too:", entry);
  }));
  cache_.Discharge(list_bytes);
  charged_ -= list_bytes;
  return runs;
}

Status TableInventory::FindMetadata() {
  const Geometry& geometry = tables_.geometry;
  CHAINFS_ASSIGN(std::vector<ClusterSet::Run> runs, ListTables());
  uint64_t overlap = 0;
  std::optional<ClusterSet> known = ClusterSet::Make(std::move(runs), overlap);
  if (!known) {
    return CorruptEntry(tables_.file.path(), "place of a table: another one lies there, at",
                        geometry.HostOf(overlap).value);
  }
  // What nobody maintains any more is no reason to refuse the image, but is left alone, too.
  const Qcow2Header header = tables_.header.header();
  known->Add(geometry.ClusterOf(header.bitmap_directory),
             DivRoundUp(header.bitmap_directory_bytes, geometry.cluster_size()));
  tables_.overlap.Reset(*std::move(known));
  return {};
}

}  // namespace chainfs::qcow2
