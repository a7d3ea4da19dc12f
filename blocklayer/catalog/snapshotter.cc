// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshotter.h"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// What an entry stands for once the record of its chain says `record`.
Candidate MovedCandidate(Candidate candidate, const FileLocation& target,
                         const std::string& record_file, const ChainRecord& record) {
  candidate.path = target.path;
  candidate.location = target;
  candidate.format = record.format;
  candidate.file_name = target.name;
  candidate.record = record_file;
  candidate.extra_roots = record.roots;
  return candidate;
}

// A VM's user must be able to open the image without chainfs, and nobody else. Best effort: only
// root may give files away.
void TakeOverAccess(File& file, const FileStat& made, const FileStat& from) {
  const bool same = made.owner == from.owner && made.group == from.group;
  const bool given = same || file.SetOwner(from.owner, from.group).has_value();
  const mode_t wanted = from.permissions & 0666;
  // What that group had is not for another one.
  const bool same_group = given || made.group == from.group;
  const mode_t group = same_group ? wanted & 0060 : wanted & 0060 & (wanted & 0006) << 3;
  (void)file.SetPermissions((wanted & 0606) | group);
}

}  // namespace

Result<Snapshotter::SnapshotPlan> Snapshotter::Plan(const DiskPtr& disk,
                                                    const SnapshotRequest& request) {
  CatalogEntry* const found = chains_.EntryOf(disk.get());
  if (found == nullptr) {
    return Fail(ErrorKind::kNotFound, "the disk is gone; it was renamed or removed");
  }
  CatalogEntry& entry = *found;
  if (read_only_ || entry.frozen || disk->read_only()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{} is read-only: {}", entry.name, disk->ReadOnlyReason())));
  }
  const FormatRow* const format = pool_.formats().Find(kOverlayFormat);
  if (format == nullptr || format->create == nullptr) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("this chainfs makes no {} images", kOverlayFormat.name()));
  }
  CHAINFS_ASSIGN(ChainRecords::Known known, chain_records_.Of(entry));
  if (const std::string& job = known.contents.held_for; !job.empty()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: {} holds a point in time of it; wait until it has ended, or "
                            "cancel it",
                            entry.name, job));
  }
  CHAINFS_ASSIGN(FileLocation target, target_.Choose(entry, request));
  const LayerPtr active = disk->chain()->active;
  CHAINFS_ASSIGN(BackingReference backing,
                 names_.For(target, entry.candidate.location, active->id, active->image->format()));
  return SnapshotPlan{.entry = &entry,
                      .target = std::move(target),
                      .backing = std::move(backing),
                      .create = format->create,
                      .known = std::move(known)};
}

Result<std::string> Snapshotter::PlanTarget(const DiskPtr& disk, const SnapshotRequest& request) {
  CHAINFS_ASSIGN(const SnapshotPlan plan, Plan(disk, request));
  return plan.target.path;
}

Result<ChainRecord> Snapshotter::Announce(const SnapshotPlan& plan,
                                          const ChainRecords::Known& known) {
  const CatalogEntry& entry = *plan.entry;
  const std::string& path = plan.target.path;
  RecordDirectory& store = sources_.records(entry.candidate.source);
  ChainRecord record = known.contents;
  record.next = path;
  if (!store.Covers(path)) CHAINFS_TRY(store.CheckTrustedWithPaths());
  if (!roots_.Contains(path)) {
    const std::string root = DirectoryOf(path);
    if (std::ranges::find(record.roots, root) == record.roots.end()) record.roots.push_back(root);
  }
  Status announced = chain_records_.Write(entry, known.file, record);
  if (announced) return record;
  (void)chain_records_.Restore(entry, known);
  return std::unexpected(std::move(announced).error());
}

Result<LayerPtr> Snapshotter::MakeOverlay(const SnapshotPlan& plan,
                                          const SnapshotRequest& request) {
  const FileLocation& target = plan.target;
  const LayerPtr active = plan.entry->disk->chain()->active;
  CHAINFS_ASSIGN(const FileStat owner, active->image->file().StatAccess());
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 plan.create(*target.directory, target.name,
                             ImageCreateOptions{.virtual_size = plan.entry->disk->size(),
                                                .cluster_bits = request.cluster_bits,
                                                .lazy_refcounts = request.lazy_refcounts,
                                                .backing = plan.backing,
                                                .permissions = owner.permissions & 0600}));
  const Result<FileStat> made_stat = file->Stat();
  if (!made_stat) {
    // Or it would freeze what it is built on.
    (void)target.directory->Remove(target.name);
    return std::unexpected(made_stat.error());
  }
  const FileStat& made = *made_stat;
  // Not open at all, somebody could remove it, and another file of its name get its inode number.
  std::unique_ptr<File> held;
  Result<LayerPtr> overlay = [&]() -> Result<LayerPtr> {
    TakeOverAccess(*file, made, owner);
    CHAINFS_ASSIGN(held, target.directory->Open(target.name, OpenMode::kReadOnly));
    CHAINFS_ASSIGN(const FileStat held_stat, held->Stat());
    if (held_stat.id != made.id) {
      return Fail(ErrorKind::kStale,
                  EscapeText(fmt::format("{}: was replaced while it was being made", target.path)));
    }
    // Open for writing it would count as being written by somebody.
    file.reset();
    // Its backing name must lead to the layer that it continues; and Get opens this very file.
    CHAINFS_TRY(BackingNames::Check(target, plan.backing.name, active->id));
    return pool_.Get(LayerFile{.location = target,
                               .format = kOverlayFormat,
                               .stat = made,
                               .peek = {.backing = plan.backing, .dirty = false}},
                     LayerRole::kActive);
  }();
  if (!overlay) (void)target.directory->RemoveFile(target.name, made.id);
  return overlay;
}

Result<LayerPtr> Snapshotter::Take(const DiskPtr& disk, const SnapshotRequest& request,
                                   const std::string& held_for) {
  CHAINFS_ASSIGN(const SnapshotPlan plan, Plan(disk, request));
  CatalogEntry& entry = *plan.entry;
  const FileLocation& target = plan.target;
  const LayerPtr frozen = disk->chain()->active;
  const ChainRecords::Known& known = plan.known;

  CHAINFS_ASSIGN(ChainRecord record, Announce(plan, known));
  Result<LayerPtr> overlay = MakeOverlay(plan, request);
  if (!overlay) {
    (void)chain_records_.Restore(entry, known);
    return overlay;
  }
  record.active = target.path;
  record.format = kOverlayFormat;
  record.backing = entry.candidate.path;
  record.backing_format = frozen->image->format();
  record.held_for = held_for;
  record.next.clear();
  // First in the tables, where it can still be refused.
  const Candidate before = entry.candidate;
  Status switched = chains_.Move(entry, MovedCandidate(before, target, known.file, record));
  if (switched) {
    switched = disk->SwitchActive(*overlay,
                                  [&] { return chain_records_.Write(entry, known.file, record); });
    // Its old path is free.
    if (!switched) (void)chains_.Move(entry, before);
  }
  if (!switched) {
    Undo(entry, target, (*overlay)->id, known);
    return std::unexpected(std::move(switched).error());
  }
  entry.stat = FileStat{.id = (*overlay)->id};
  entry.hint.clear();
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(frozen, LayerRole::kBacking);
  // What was active shows up as a disk of its own. The snapshot stands even if this fails.
  scanner_.ShowChanges();
  events_.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return overlay;
}

Result<std::optional<FrozenPoint>> Snapshotter::Held(const DiskPtr& disk, std::string_view id) {
  const CatalogEntry* const entry = chains_.EntryOf(disk.get());
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk->name()));
  }
  CHAINFS_ASSIGN(const ChainRecords::Known known, chain_records_.Of(*entry));
  if (known.contents.held_for != id) return std::nullopt;
  const Layers layers = disk->chain()->AllLayers();
  if (layers.size() < 2) {
    return Fail(ErrorKind::kStale,
                fmt::format("{}: nothing is below the layer that {} was to be merged into",
                            entry->name, known.contents.backing));
  }
  return FrozenPoint{.frozen = layers[1], .overlay = layers[0]};
}

Result<FrozenPoint> Snapshotter::FreezeFor(const DiskPtr& disk, const FreezeRequest& request) {
  CHAINFS_ASSIGN(const std::optional<FrozenPoint> held, Held(disk, request.id));
  if (held) return *held;
  const LayerPtr frozen = disk->chain()->active;
  SnapshotRequest snapshot{.target = request.target, .anywhere = request.anywhere};
  if (snapshot.target.empty()) {
    snapshot.target = fmt::format("{}.{}.qcow2", disk->name(), request.id);
  }
  CHAINFS_ASSIGN(LayerPtr overlay, Take(disk, snapshot, request.id));
  return FrozenPoint{.frozen = frozen, .overlay = std::move(overlay)};
}

void Snapshotter::Undo(CatalogEntry& entry, const FileLocation& target, const FileId& made,
                       const ChainRecords::Known& known) {
  if (chain_records_.Restore(entry, known)) {
    (void)target.directory->RemoveFile(target.name, made);
    return;
  }
  // The record may name the overlay as active, and cannot be changed. So the overlay stays, and
  // nothing must be written beneath it.
  entry.disk->access().Forbid(
      "a snapshot failed and its record could not be taken back; mount again");
  publisher_.Publish();
}

}  // namespace chainfs
