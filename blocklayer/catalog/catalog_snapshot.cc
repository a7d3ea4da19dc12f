// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: a chain moves to a new active layer while it is in use.
//
// Crash ordering. Each step is durable before the next one:
//   1. the chain's record says `next`: an overlay is being made that holds nothing yet
//   2. the overlay exists, complete
//   3. the disk is quiet and flushed; the record says `active`: the overlay
//   4. guests write to the overlay
// A crash before 3 leaves the old active layer active, and perhaps an empty overlay, which is
// removed when its chain is opened again (catalog_recovery.cc). A
// crash after 3 leaves the new one active. Either way the contents are the same.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/qcow2/create.h"

namespace chainfs {
namespace {

constexpr int kMaxNumber = 1'000'000;

// kExists, or success when there is nothing of that name.
Status CheckFree(const Place& place) {
  const auto file = place.directory->Open(place.name, OpenMode::kReadOnly);
  const ErrorKind kind = file ? ErrorKind::kExists : file.error().kind;
  if (kind == ErrorKind::kNotFound) return {};
  if (kind == ErrorKind::kIo) return std::unexpected(file.error());
  // What is there but cannot be opened (a directory, a link that leads outside) exists, too.
  return Fail(ErrorKind::kExists,
              EscapeText(fmt::format("{}: exists already; choose another target", place.path)));
}

Status CheckTargetName(const std::string& target) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument, EscapeText(fmt::format("{}: {}", target, why)));
  };
  const std::string name = FileNameOf(target);
  if (name.empty() || name == "." || name == "..") return refuse("not the name of a file");
  if (!IsPlainText(target)) return refuse("has control characters or is not UTF-8");
  if (FormatOfFileName(name) == ImageFormat::kRaw) {
    return refuse("would be taken for a raw image later; call it NAME.qcow2");
  }
  return {};
}

Status CheckNotAmongRecords(const Place& place) {
  const std::string records = fmt::format("/{}/", kRecordDirectory);
  if (place.path.find(records) == std::string::npos) return {};
  return Fail(ErrorKind::kInvalidArgument,
              EscapeText(fmt::format("{}: lies in the directory that chainfs keeps its records in",
                                     place.path)));
}

std::string NumberedName(const std::string& chain, int number) {
  return fmt::format("{}.{}.qcow2", chain, number);
}

// What an entry stands for once the record of its chain says `record`.
Candidate MovedCandidate(Candidate candidate, const Place& target, const std::string& record_file,
                         const ChainRecord& record) {
  candidate.path = target.path;
  candidate.place = target;
  candidate.format = record.format;
  candidate.file_name = target.name;
  candidate.record = record_file;
  candidate.extra_roots = record.roots;
  return candidate;
}

}  // namespace

Result<Place> Catalog::Impl::PlanTarget(const Entry& entry, const SnapshotRequest& request) {
  Directory& beside = *entry.disk->chain()->active->directory;
  CHAINFS_ASSIGN(const std::vector<ChainRecord> records, sources_.ChainRecords());
  if (!request.target.empty()) {
    CHAINFS_TRY(CheckTargetName(request.target));
    CHAINFS_ASSIGN(Place place, roots_.FindNew(beside, request.target, request.anywhere));
    CHAINFS_TRY(CheckNotAmongRecords(place));
    CHAINFS_TRY(CheckFree(place));
    CHAINFS_TRY(CheckNamedByNobody(place, records));
    return place;
  }
  // A chain may have left the sources, and then its own directory is one that not everybody may
  // fill.
  CHAINFS_ASSIGN(Place place,
                 roots_.FindNew(beside, NumberedName(entry.name, 1), request.anywhere));
  for (int n = 1; n < kMaxNumber; ++n) {
    place.name = NumberedName(entry.name, n);
    place.path = JoinPath(place.directory->path(), place.name);
    Status free = CheckFree(place);
    if (free) free = CheckNamedByNobody(place, records);
    if (free) return place;
    if (free.error().kind != ErrorKind::kExists) return std::unexpected(std::move(free).error());
  }
  return Fail(ErrorKind::kExists, fmt::format("{}: no free number left", entry.name));
}

Result<Catalog::Impl::SnapshotPlan> Catalog::Impl::Plan(const DiskPtr& disk,
                                                        const SnapshotRequest& request) {
  if (closed_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  Entry* const found = EntryOf(disk.get());
  if (found == nullptr) {
    return Fail(ErrorKind::kNotFound, "the disk is gone; it was renamed or removed");
  }
  Entry& entry = *found;
  if (options_.read_only || entry.frozen || disk->read_only()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{} is read-only: {}", entry.name, disk->ReadOnlyReason())));
  }
  CHAINFS_ASSIGN(Place target, PlanTarget(entry, request));
  CHAINFS_ASSIGN(BackingReference backing,
                 ReferenceToPlace(target, entry.candidate.place, disk->chain()->active->id,
                                  disk->chain()->active->image->format()));
  return SnapshotPlan{.entry = &entry, .target = std::move(target), .backing = std::move(backing)};
}

Result<std::string> Catalog::Impl::PlanSnapshot(const DiskPtr& disk,
                                                const SnapshotRequest& request) {
  const Turn turn(mu_);
  CHAINFS_ASSIGN(const SnapshotPlan plan, Plan(disk, request));
  return plan.target.path;
}

// What the record says now; the chain as it is when it has none.
Result<Catalog::Impl::KnownRecord> Catalog::Impl::RecordOf(const Entry& entry) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  const std::string& path = entry.candidate.path;
  KnownRecord known;
  known.file = entry.candidate.record;
  const bool has_record = !known.file.empty();
  if (!has_record) known.file = ChainRecordName(entry.name);
  known.contents = {.name = entry.name,
                    .active = path,
                    .format = entry.candidate.format,
                    .origin = path,
                    .backing = {},
                    .next = {},
                    .roots = {}};
  CHAINFS_ASSIGN(std::vector<RecordDirectory::Found> all, store.ReadAll(known.file));
  for (RecordDirectory::Found& found : all) {
    if (found.name != known.file) continue;
    if (!has_record) {
      return Fail(
          ErrorKind::kExists,
          EscapeText(fmt::format("{}/{}/{}: the record of another chain called {}; mount "
                                 "this one under another name",
                                 store.source_path(), kRecordDirectory, known.file, entry.name)));
    }
    CHAINFS_ASSIGN(known.text, std::move(found.contents));
    CHAINFS_ASSIGN(known.contents, ParseChainRecord(*known.text, store.source_path()));
  }
  return known;
}

Status Catalog::Impl::RestoreRecord(const Entry& entry, const KnownRecord& known) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  return known.text ? store.Write(known.file, *known.text) : store.Remove(known.file);
}

void Catalog::Impl::TakeOverAccess(File& file, const FileStat& made, const FileStat& from) {
  const bool same = made.owner == from.owner && made.group == from.group;
  const bool given = same || file.SetOwner(from.owner, from.group).has_value();
  const mode_t wanted = from.permissions & 0666;
  // What that group had is not for another one.
  const bool same_group = given || made.group == from.group;
  const mode_t group = same_group ? wanted & 0060 : wanted & 0060 & (wanted & 0006) << 3;
  (void)file.SetPermissions((wanted & 0606) | group);
}

Result<LayerPtr> Catalog::Impl::MakeOverlay(const SnapshotPlan& plan,
                                            const SnapshotRequest& request) {
  const Place& target = plan.target;
  const LayerPtr active = plan.entry->disk->chain()->active;
  CHAINFS_ASSIGN(const FileStat owner, active->image->file().StatAccess());
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 CreateQcow2(*target.directory, target.name,
                             Qcow2CreateOptions{.virtual_size = plan.entry->disk->size(),
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
  Result<LayerPtr> overlay = [&]() REQUIRES(mu_) -> Result<LayerPtr> {
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
    CHAINFS_TRY(CheckBackingName(target, plan.backing.name, active->id));
    return pool_.Get(LayerFile{.place = target,
                               .format = ImageFormat::kQcow2,
                               .stat = made,
                               .peek = {.is_qcow2 = true, .backing = plan.backing, .dirty = false}},
                     LayerRole::kActive);
  }();
  if (!overlay) (void)target.directory->RemoveFile(target.name, made.id);
  return overlay;
}

Result<LayerPtr> Catalog::Impl::SnapshotLocked(const DiskPtr& disk,
                                               const SnapshotRequest& request) {
  CHAINFS_ASSIGN(const SnapshotPlan plan, Plan(disk, request));
  Entry& entry = *plan.entry;
  const Place& target = plan.target;
  RecordDirectory& store = sources_.records(entry.candidate.source);
  const LayerPtr frozen = disk->chain()->active;
  CHAINFS_ASSIGN(const KnownRecord known, RecordOf(entry));

  ChainRecord record = known.contents;
  record.next = target.path;
  if (!store.Covers(target.path)) CHAINFS_TRY(store.CheckTrustedWithPaths());
  if (!roots_.Contains(target.path)) {
    const std::string root = DirectoryOf(target.path);
    if (std::ranges::find(record.roots, root) == record.roots.end()) record.roots.push_back(root);
  }
  Status intended = store.Write(known.file, FormatChainRecord(record, store.source_path()));
  if (!intended) {
    (void)RestoreRecord(entry, known);
    return std::unexpected(std::move(intended).error());
  }
  Result<LayerPtr> overlay = MakeOverlay(plan, request);
  if (!overlay) {
    (void)RestoreRecord(entry, known);
    return overlay;
  }
  record.active = target.path;
  record.format = ImageFormat::kQcow2;
  record.backing = entry.candidate.path;
  record.next.clear();
  // First in the tables, where it can still be refused.
  const Candidate before = entry.candidate;
  Status switched = MoveEntry(entry, MovedCandidate(before, target, known.file, record));
  if (switched) {
    switched = disk->SwitchActive(*overlay, [&] {
      return store.Write(known.file, FormatChainRecord(record, store.source_path()));
    });
    // Its old path is free.
    if (!switched) (void)MoveEntry(entry, before);
  }
  if (!switched) {
    UndoSnapshot(entry, target, (*overlay)->id, known);
    return std::unexpected(std::move(switched).error());
  }
  entry.stat = FileStat{.id = (*overlay)->id};
  entry.hint.clear();
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(frozen, LayerRole::kBacking);
  // What was active shows up as a disk of its own. The snapshot stands even if this fails.
  if (!ScanLocked(ScanKind::kQuick)) PublishLists();
  Queue([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return overlay;
}

void Catalog::Impl::UndoSnapshot(Entry& entry, const Place& target, const FileId& made,
                                 const KnownRecord& known) {
  if (RestoreRecord(entry, known)) {
    (void)target.directory->RemoveFile(target.name, made);
    return;
  }
  // The record may name the overlay as active, and cannot be changed. So the overlay stays, and
  // nothing must be written beneath it.
  entry.disk->access().Forbid(
      "a snapshot failed and its record could not be taken back; mount again");
  PublishLists();
}

Status Catalog::Impl::MoveEntry(Entry& entry, Candidate to) {
  const std::string from = entry.candidate.path;
  auto node = entries_.extract(from);
  node.key() = to.path;
  auto moved = entries_.insert(std::move(node));
  if (moved.inserted) {
    entry.candidate = std::move(to);
    return {};
  }
  moved.node.key() = from;
  (void)entries_.insert(std::move(moved.node));
  return Fail(ErrorKind::kExists,
              EscapeText(fmt::format("{}: it is in view already; choose another target", to.path)));
}

Result<LayerPtr> Catalog::Impl::Snapshot(const DiskPtr& disk, const SnapshotRequest& request) {
  Result<LayerPtr> overlay = [&] {
    const Turn turn(mu_);
    return SnapshotLocked(disk, request);
  }();
  DeliverEvents();
  return overlay;
}

}  // namespace chainfs
