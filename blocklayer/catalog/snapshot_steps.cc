// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_steps.h"

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

Result<PlannedSnapshot> SnapshotSteps::Plan(const DiskPtr& disk, const SnapshotRequest& request) {
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
  return PlannedSnapshot{.entry = &entry,
                         .target = std::move(target),
                         .backing = std::move(backing),
                         .create = format->create,
                         .known = std::move(known)};
}

Result<ChainRecord> SnapshotSteps::Announce(const PlannedSnapshot& plan,
                                            const SnapshotPurpose& purpose) {
  const CatalogEntry& entry = *plan.entry;
  const ChainRecords::Known& known = plan.known;
  const std::string& path = plan.target.path;
  RecordDirectory& store = sources_.records(entry.candidate.source);
  ChainRecord record = known.contents;
  record.next = path;
  record.group = purpose.group;
  record.next_held_for = purpose.group.empty() ? "" : purpose.held_for;
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

Result<LayerPtr> SnapshotSteps::MakeOverlay(const PlannedSnapshot& plan,
                                            const SnapshotRequest& request) {
  const FileLocation& target = plan.target;
  const LayerPtr active = plan.entry->disk->chain()->active;
  CHAINFS_ASSIGN(const FileStat owner, active->image->file().StatAccess());
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 plan.create(*target.directory, target.name,
                             ImageCreateOptions{.virtual_size = plan.entry->disk->size(),
                                                .cluster_bits = request.cluster_bits,
                                                .lazy_refcounts = request.lazy_refcounts,
                                                .subclusters = GetsSubclusters(
                                                    request.subclusters, active->image.get(),
                                                    request.cluster_bits),
                                                .compression = request.compression,
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

Result<PreparedSnapshot> SnapshotSteps::Prepare(PlannedSnapshot plan,
                                                const SnapshotRequest& request,
                                                const SnapshotPurpose& purpose) {
  PreparedSnapshot prepared{
      .plan = std::move(plan), .before = {}, .frozen = {}, .overlay = {}, .record = {}};
  CatalogEntry& entry = *prepared.plan.entry;
  prepared.before = entry.candidate;
  prepared.frozen = entry.disk->chain()->active;
  CHAINFS_ASSIGN(prepared.record, Announce(prepared.plan, purpose));
  Result<LayerPtr> overlay = MakeOverlay(prepared.plan, request);
  if (!overlay) {
    (void)chain_records_.Restore(entry, prepared.plan.known);
    return std::unexpected(std::move(overlay).error());
  }
  prepared.overlay = *std::move(overlay);
  ChainRecord& record = prepared.record;
  record.active = prepared.plan.target.path;
  record.format = kOverlayFormat;
  record.backing = prepared.before.path;
  record.backing_format = prepared.frozen->image->format();
  record.held_for = purpose.held_for;
  record.next.clear();
  record.group.clear();
  record.next_held_for.clear();
  // First in the tables, where it can still be refused.
  Status moved = chains_.Move(entry, MovedCandidate(prepared.before, prepared.plan.target,
                                                    prepared.plan.known.file, record));
  if (moved) return prepared;
  TakeBack(prepared);
  return std::unexpected(std::move(moved).error());
}

void SnapshotSteps::Finish(const PreparedSnapshot& prepared) {
  CatalogEntry& entry = *prepared.plan.entry;
  entry.stat = FileStat{.id = prepared.overlay->id};
  entry.hint.clear();
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(prepared.frozen, LayerRole::kBacking);
}

void SnapshotSteps::TakeBack(const PreparedSnapshot& prepared) {
  CatalogEntry& entry = *prepared.plan.entry;
  const FileLocation& target = prepared.plan.target;
  // Its old path is free.
  if (entry.candidate.path != prepared.before.path) (void)chains_.Move(entry, prepared.before);
  if (chain_records_.Restore(entry, prepared.plan.known)) {
    (void)target.directory->RemoveFile(target.name, prepared.overlay->id);
    return;
  }
  // The record may name the overlay as active, and cannot be changed. So the overlay stays, and
  // nothing must be written beneath it.
  entry.disk->access().Forbid(
      "a snapshot failed and its record could not be taken back; mount again");
  publisher_.Publish();
}

}  // namespace chainfs
