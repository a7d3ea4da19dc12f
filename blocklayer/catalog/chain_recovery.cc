// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_recovery.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/catalog/group_record.h"

namespace chainfs {

void ChainRecovery::Finish(const std::vector<InterruptedChange>& interrupted) {
  for (const InterruptedChange& snapshot : interrupted) {
    for (auto& [path, entry] : chains_.entries()) {
      // Its active layer is locked for writing, so no other daemon is in the midst of this.
      const bool owns =
          entry.disk != nullptr && !entry.frozen && entry.candidate.record == snapshot.record &&
          &sources_.records(entry.candidate.source) == &sources_.records(snapshot.source);
      if (!owns) continue;
      if (Status finished = FinishOne(entry, snapshot); !finished) {
        entry.hint = fmt::format("an interrupted change of its layers could not be cleaned up: {}",
                                 finished.error().message);
      }
    }
  }
}

void ChainRecovery::ForgetRemains() {
  std::set<RecordDirectory*> stores;
  for (size_t i = 0; i < sources_.size(); ++i) stores.insert(&sources_.records(i));
  // It does no harm where it stays.
  for (RecordDirectory* const store : stores) {
    (void)ForgetGroups(*store);
    (void)store->RemoveUnfinished();
  }
}

Status ChainRecovery::FinishOne(const CatalogEntry& entry, const InterruptedChange& snapshot) {
  ChainRecord record = snapshot.contents;
  RecordDirectory& store = sources_.records(snapshot.source);
  if (!record.drops.empty() || !record.stale.empty() || !record.merged.empty()) {
    CHAINFS_TRY(dropped_.Mark(snapshot.source, entry.id(), record));
    CHAINFS_TRY(dropped_.Remove(store, snapshot.record, record, nullptr));
  }
  if (snapshot.settled) {
    CHAINFS_TRY(store.Write(snapshot.record, FormatChainRecord(record, store.source_path())));
    return ForgetGroups(store);
  }
  if (record.next.empty()) return {};
  CHAINFS_ASSIGN(const FileLocation location, roots_.Find(record.next, record.roots));
  const Result<std::optional<FileId>> unused = UnusedOverlay(entry, location, record);
  if (!unused && unused.error().kind != ErrorKind::kNotFound) {
    return std::unexpected(unused.error());
  }
  if (unused && *unused) {
    CHAINFS_TRY(location.directory->RemoveFile(location.name, **unused));
    CHAINFS_TRY(location.directory->Sync());
  }
  // Anything else there is somebody's image, and is shown from the next scan on.
  if (record.active == record.origin) return store.Remove(snapshot.record);
  record.next.clear();
  record.group.clear();
  record.next_held_for.clear();
  return store.Write(snapshot.record, FormatChainRecord(record, store.source_path()));
}

// The file, if it is what a snapshot of `entry` made and nobody has used.
Result<std::optional<FileId>> ChainRecovery::UnusedOverlay(const CatalogEntry& entry,
                                                           const FileLocation& location,
                                                           const ChainRecord& record) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 location.directory->Open(location.name, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (stat.size == 0) return stat.id;
  // Its header comes last: until then nobody can have used it.
  std::array<std::byte, 512> sector = {};
  CHAINFS_TRY(file->ReadZeroFilled(HostOffset(0), sector));
  if (std::ranges::all_of(sector, [](std::byte b) { return b == std::byte{0}; })) {
    return stat.id;
  }
  const FormatRow* const format = formats_.Find(kOverlayFormat);
  if (format == nullptr) return std::nullopt;
  const auto image =
      format->open(std::move(file), context_.metadata(),
                   ImageOpenOptions{.read_only = true, .owner = context_.metadata().NewOwner()});
  if (!image || !(*image)->backing()) return std::nullopt;
  const auto backing = roots_.Resolve(location, (*image)->backing()->name, record.roots);
  if (!backing) return std::nullopt;
  const auto below = roots_.Follow(*backing->directory, backing->name);
  if (!below || *below != entry.id()) return std::nullopt;
  const uint64_t virtual_size = (*image)->virtual_size();
  if (virtual_size == 0) return stat.id;
  // Long enough for any overlay that chainfs makes; what takes longer is somebody's.
  constexpr int kMaxExtents = 4096;
  uint64_t position = 0;
  for (int i = 0; i < kMaxExtents && position < virtual_size; ++i) {
    const auto extent =
        (*image)->Map(GuestOffset(position), virtual_size - position, MapDetail::kFast);
    if (!extent || extent->kind != ExtentKind::kUnallocated) return std::nullopt;
    position += extent->length;
  }
  return position >= virtual_size ? std::optional(stat.id) : std::nullopt;
}

}  // namespace chainfs
