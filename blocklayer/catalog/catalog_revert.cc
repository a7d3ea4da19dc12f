// SPDX-License-Identifier: Apache-2.0
//
// Revert: a disk goes back to an older layer of its chain, and the newer ones are removed.
//
// Crash ordering. Each step is durable before the next one:
//   1. the chain's record says that the older layer is active, and what is to be dropped
//   2. the disk goes on with the older layer, and guests may write to it
//   3. the newer layers are removed, from the top down
//   4. the record says so
// A crash before 1 leaves everything as it was. After 1 the newer layers are not shown any more, so
// they keep nobody from writing; the next mount goes on with 3 when it has locked the active layer
// for writing (catalog_recovery.cc). At any moment every file that is there can be opened.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Status Catalog::Impl::CheckRevertOf(const Layer& layer, const RevertPlan& plan, const Entry& entry,
                                    const Around& around, bool anywhere) {
  CHAINFS_TRY(CheckMayRemove(layer, anywhere));
  Sight sight{
      .gone = {}, .skipped = std::nullopt, .own_record = entry.candidate.path, .around = &around};
  for (const LayerPtr& dropped : plan.dropped) {
    if (dropped->id != layer.id || layer.id == entry.id()) sight.gone.insert(dropped->id);
  }
  std::string why = NeededBecause(layer.id, layer.path, sight);
  if (why.empty() && layer.image->file().LockedByOthers()) why = "another process uses it";
  if (why.empty()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: cannot be reverted: {}: {}", entry.name,
                                                       layer.path, why)));
}

Result<Catalog::Impl::RevertPlan> Catalog::Impl::PlanRevert(const Entry& entry, const Layer& to,
                                                            const Around& around, bool anywhere) {
  const Layers layers = entry.disk->chain()->AllLayers();
  const auto at =
      std::ranges::find_if(layers, [&](const LayerPtr& layer) { return layer.get() == &to; });
  if (at == layers.end()) {
    return Fail(ErrorKind::kNotFound,
                EscapeText(fmt::format("{}: {} is not in its chain", entry.name, to.path)));
  }
  if (at == layers.begin()) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: {} is its active layer", entry.name, to.path)));
  }
  RevertPlan plan{.dropped = Layers(layers.begin(), at),
                  .to = *at,
                  .place = {},
                  .rest = Layers(at, layers.end())};
  for (const LayerPtr& layer : plan.dropped) {
    CHAINFS_TRY(CheckRevertOf(*layer, plan, entry, around, anywhere));
  }
  CHAINFS_TRY(CheckRevertOf(to, plan, entry, around, anywhere));
  std::vector<std::string> extra = entry.candidate.extra_roots;
  if (anywhere) extra.push_back(DirectoryOf(to.path));
  CHAINFS_ASSIGN(plan.place, roots_.Find(to.path, extra));
  const Result<FileId> leads = plan.place.directory->WhereLeads(plan.place.name);
  const auto there = entries_.find(plan.place.path);
  if (!leads || *leads != to.id || (there != entries_.end() && there->second.id() != to.id)) {
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: it was renamed or replaced; put it back", to.path)));
  }
  return plan;
}

ChainRecord Catalog::Impl::RevertRecord(const RevertPlan& plan, const KnownRecord& known) {
  ChainRecord record = known.contents;
  record.active = plan.place.path;
  record.format = plan.to->image->format();
  record.backing.clear();
  std::vector<ChainRecord::Dropped> drops;
  const auto need_root = [&](const std::string& path) REQUIRES(mu_) {
    const std::string root = DirectoryOf(path);
    const bool known_root =
        roots_.Contains(path) || std::ranges::find(record.roots, root) != record.roots.end();
    if (!known_root) record.roots.push_back(root);
  };
  for (const LayerPtr& layer : plan.dropped) {
    drops.push_back({.path = layer->path, .inode = layer->id.inode});
    need_root(layer->path);
  }
  need_root(plan.place.path);
  drops.insert(drops.end(), record.drops.begin(), record.drops.end());
  record.drops = std::move(drops);
  return record;
}

Status Catalog::Impl::SwitchBack(Entry& entry, const RevertPlan& plan, const KnownRecord& known,
                                 const ChainRecord& record) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  CHAINFS_TRY(store.CheckTrusted(record));
  // Nobody else may be about to write it.
  CHAINFS_TRY(pool_.SetRole(plan.to, LayerRole::kActive));
  bool written = false;
  Status switched = entry.disk->GoBack(plan.rest, [&]() -> Status {
    written = true;
    return store.Write(known.file, FormatChainRecord(record, store.source_path()));
  });
  if (switched) return switched;
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(plan.to, LayerRole::kBacking);
  if (!written || RestoreRecord(entry, known)) return switched;
  // The record may name the older layer as active, and cannot be changed.
  entry.disk->access().Forbid(
      "a revert failed and its record could not be taken back; mount again");
  return switched;
}

void Catalog::Impl::TakePlaceOf(Entry& entry, const RevertPlan& plan, const KnownRecord& known,
                                const ChainRecord& record) {
  std::set<FileId> replaced{plan.to->id};
  for (const LayerPtr& layer : plan.dropped) replaced.insert(layer->id);
  for (auto other = entries_.begin(); other != entries_.end();) {
    if (&other->second == &entry || !replaced.contains(other->second.id())) {
      ++other;
      continue;
    }
    Retire(other->second);
    other = entries_.erase(other);
  }
  Candidate candidate = entry.candidate;
  candidate.path = plan.place.path;
  candidate.place = plan.place;
  candidate.format = record.format;
  candidate.file_name = plan.place.name;
  candidate.record = known.file;
  candidate.extra_roots = record.roots;
  // Whoever had that path has gone (PlanRevert).
  if (!MoveEntry(entry, std::move(candidate))) std::abort();
  Entry& moved = entries_.at(plan.place.path);
  moved.stat = FileStat{.id = plan.to->id};
  moved.hint.clear();
  moved.frozen = true;
  moved.frozen_because = kStillBacked;
}

Result<LeftOutLayers> Catalog::Impl::RevertLocked(const DiskPtr& disk, const Layer& to,
                                                  bool anywhere, bool dry_run) {
  if (closed_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  if (options_.read_only) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  // Somebody may have built something on them that nobody has seen yet.
  CHAINFS_ASSIGN(const Around around, LookAround(disk->chain()->AllLayers()));
  CHAINFS_TRY(ScanLocked(ScanKind::kQuick));
  const auto found =
      std::ranges::find_if(entries_, [&](const auto& item) { return item.second.disk == disk; });
  if (found == entries_.end()) {
    return Fail(ErrorKind::kNotFound, "the disk is gone; it was renamed or removed");
  }
  Entry& entry = found->second;
  CHAINFS_ASSIGN(const RevertPlan plan, PlanRevert(entry, to, around, anywhere));
  CHAINFS_ASSIGN(const KnownRecord known, RecordOf(entry));
  LeftOutLayers result;
  for (const LayerPtr& layer : plan.dropped) result.unneeded.push_back(layer->path);
  if (dry_run) return result;
  const bool was_read_only = disk->read_only();
  if (!disk->StopWriting()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: is open for writing; close it first", entry.name));
  }
  ChainRecord record = RevertRecord(plan, known);
  if (Status switched = SwitchBack(entry, plan, known, record); !switched) {
    if (!was_read_only) (void)disk->AllowWriting();
    return std::unexpected(std::move(switched).error());
  }
  RecordDirectory& store = sources_.records(entry.candidate.source);
  TakePlaceOf(entry, plan, known, record);
  // The mark of a stream means nothing for a layer that a record names.
  (void)RemoveMark(plan.to->id);
  Queue([disk](CatalogObserver& observer) { observer.ContentsChanged(disk); });
  Thaw(entries_.at(plan.place.path));
  Queue([disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
  result.unneeded.clear();
  const Status finished = FinishRevert(store, known.file, record, &result.removed);
  if (!finished) result.problem = EscapeText(finished.error().message);
  if (!ScanLocked(ScanKind::kQuick)) PublishLists();
  Queue([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return result;
}

Status Catalog::Impl::RemoveDropped(const ChainRecord::Dropped& dropped,
                                    const ChainRecord& record) {
  CHAINFS_ASSIGN(const Place place, roots_.Find(dropped.path, record.roots));
  const Result<FileId> id = place.directory->WhereLeads(place.name);
  const bool gone = !id && id.error().kind == ErrorKind::kNotFound;
  // Another file of that name is somebody's image.
  if (gone || (id && id->inode != dropped.inode)) return {};
  CHAINFS_TRY(id);
  {
    // What the chain was reverted from is built on something.
    CHAINFS_ASSIGN(const std::unique_ptr<File> file,
                   place.directory->Open(place.name, OpenMode::kReadOnly));
    CHAINFS_ASSIGN(const HeaderPeek peek, PeekQcow2Header(*file));
    if (!peek.backing) return {};
  }
  CHAINFS_TRY(place.directory->RemoveFile(place.name, *id));
  CHAINFS_TRY(place.directory->Sync());
  (void)RemoveMark(*id);
  return {};
}

Status Catalog::Impl::FinishRevert(RecordDirectory& store, const std::string& file,
                                   ChainRecord& record, std::vector<std::string>* removed) {
  while (!record.drops.empty()) {
    const ChainRecord::Dropped dropped = record.drops.front();
    CHAINFS_TRY(RemoveDropped(dropped, record));
    if (removed != nullptr) removed->push_back(dropped.path);
    record.drops.erase(record.drops.begin());
    if (record.drops.empty()) break;
    // Another file may soon have its name, and its inode number.
    CHAINFS_TRY(store.Write(file, FormatChainRecord(record, store.source_path())));
  }
  // Without the record the chain would be what the record says now.
  const bool says_nothing = record.active == record.origin && record.next.empty() &&
                            StemOf(FileNameOf(record.origin)) == record.name;
  return says_nothing ? store.Remove(file)
                      : store.Write(file, FormatChainRecord(record, store.source_path()));
}

Result<LeftOutLayers> Catalog::Impl::Revert(const DiskPtr& disk, const Layer& to, bool anywhere,
                                            bool dry_run) {
  Result<LeftOutLayers> reverted = [&] {
    const Turn turn(mu_);
    return RevertLocked(disk, to, anywhere, dry_run);
  }();
  DeliverEvents();
  return reverted;
}

}  // namespace chainfs
