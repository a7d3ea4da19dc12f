// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/base/wake_up.h"
#include "blocklayer/catalog/catalog_parts.h"
#include "blocklayer/catalog/layers_report.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/chain/tail_check.h"

namespace chainfs {
namespace {

// Whether it would be refused.
Status CheckResize(const Disk& disk, const ResizeRequest& request) {
  if (disk.read_only()) {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{} is read-only: {}", disk.name(), disk.ReadOnlyReason()));
  }
  if (request.cut_data) return {};
  return CheckTailEmpty(*disk.chain(), disk.name(), request.size);
}

}  // namespace

Catalog::Catalog(CatalogOptions options)
    : ShownLists(options.read_only),
      parts_(std::make_unique<CatalogParts>(std::move(options), *this, [this] { (void)Rescan(); })),
      records_(parts_->records),
      leases_(parts_->leases),
      new_images_(parts_->new_images),
      user_files_(parts_->user_files),
      moves_(*parts_),
      rebases_(*parts_) {
  SetRepairs(&parts_->repairs);
}

Catalog::~Catalog() {
  (void)Close();
  Clear();
}

Result<std::unique_ptr<Catalog>> Catalog::Open(const std::vector<SourceSpec>& sources,
                                               CatalogOptions options) {
  if (sources.empty()) return Fail(ErrorKind::kInvalidArgument, "no source is given");
  std::unique_ptr<Catalog> catalog(new Catalog(std::move(options)));
  CatalogParts& parts = *catalog->parts_;
  {
    const MutexLock lock(parts.mu);
    for (const std::string& directory : parts.options.backing_dirs) {
      CHAINFS_TRY(parts.roots.Add(directory, RootUse::kRead));
    }
    for (const std::string& directory : parts.options.data_dirs) {
      CHAINFS_TRY(parts.data_files.Permit(directory));
    }
    for (const SourceSpec& spec : sources) CHAINFS_TRY(parts.sources.Add(spec));
    CHAINFS_TRY(parts.scanner.Scan(Scanner::Kind::kFull));
  }
  parts.events.Deliver();
  return catalog;
}

void Catalog::SetObserver(CatalogObserver* observer) { parts_->events.SetObserver(observer); }
void Catalog::SetWakeUp(std::function<void()> call) { context().wake_up().Set(std::move(call)); }
void Catalog::KeepOff(dev_t served) {
  const Turn turn(parts_->mu);
  parts_->roots.KeepOff(served);
  parts_->data_files.KeepOff(served);
}
const CatalogOptions& Catalog::options() const { return parts_->options; }
BlockContext& Catalog::context() { return *parts_->context; }

Status Catalog::Rescan() {
  Status scanned = [this]() -> Status {
    const MutexLock one_scan(parts_->scan_mu);
    const MutexLock lock(parts_->mu);
    CHAINFS_TRY(parts_->pauses.CheckOpen());
    return parts_->scanner.Scan(Scanner::Kind::kFull);
  }();
  parts_->events.Deliver();
  return scanned;
}

std::vector<std::string> Catalog::WatchedDirectories() const {
  std::vector<std::string> paths = parts_->sources.DirectoryPaths();
  for (const std::string& directory : options().backing_dirs) {
    if (std::ranges::find(paths, directory) == paths.end()) paths.push_back(directory);
  }
  return paths;
}

Status Catalog::Resize(const DiskPtr& disk, const ResizeRequest& request) {
  const uint64_t before = disk->size();
  const auto tail = request.cut_data ? Disk::Tail::kIsLost : Disk::Tail::kMustBeEmpty;
  if (request.dry_run) return CheckResize(*disk, request);
  Status resized =
      request.size < before ? disk->Shrink(request.size, tail) : disk->Grow(request.size);
  // Growth may have stopped half-way.
  const uint64_t after = disk->size();
  if (after != before) {
    parts_->events.Add([disk, shrunk = after < before](CatalogObserver& observer) {
      observer.SizeChanged(disk, shrunk);
    });
    parts_->events.Deliver();
  }
  return resized;
}

Result<LayerPtr> Catalog::Snapshot(const DiskPtr& disk, const SnapshotRequest& request) {
  Result<LayerPtr> overlay = [&]() -> Result<LayerPtr> {
    const Turn turn(parts_->mu);
    CHAINFS_TRY(parts_->pauses.CheckOpen());
    return parts_->snapshotter.Take(disk, request);
  }();
  parts_->events.Deliver();
  return overlay;
}

Result<std::string> Catalog::PlanSnapshot(const DiskPtr& disk, const SnapshotRequest& request) {
  const Turn turn(parts_->mu);
  CHAINFS_TRY(parts_->pauses.CheckOpen());
  return parts_->snapshotter.PlanTarget(disk, request);
}

Result<LayerPtr> Catalog::FindLayer(const Disk& disk, std::string_view name) const {
  std::vector<LayerPtr> called;
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    if (layer->path == name) return layer;
    if (layer->name == name) called.push_back(layer);
  }
  if (called.size() == 1) return called.front();
  return Fail(ErrorKind::kNotFound,
              EscapeText(fmt::format("{}: {}", disk.name(),
                                     called.empty()
                                         ? fmt::format("no layer called {} in its chain", name)
                                         : fmt::format("{} layers are called {}; name the one by "
                                                       "its whole path",
                                                       called.size(), name))));
}

Result<BackingReference> Catalog::ReferenceTo(const Disk& disk, const Layer& overlay,
                                              const Layer& backing) {
  const Turn turn(parts_->mu);
  const CatalogEntry* const entry = parts_->chains.EntryOf(&disk);
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk.name()));
  }
  return parts_->names.Between(*entry, overlay, backing);
}

void Catalog::DropLayersBetween(const LayerPtr& top, const LayerPtr& base) {
  {
    const Turn turn(parts_->mu);
    const std::vector<DiskPtr> shortened = parts_->chains.DropLayersBetween(top, base);
    parts_->scanner.UpdateRoles();
    for (const DiskPtr& disk : shortened) {
      parts_->events.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
    }
  }
  parts_->events.Deliver();
}

std::vector<LayerReport> Catalog::LayersReport() {
  const Turn turn(parts_->mu);
  return ReportLayers(parts_->chains, parts_->roles, parts_->marks, parts_->needs);
}

std::vector<std::string> Catalog::Unneeded(const Layer& top, const Layers& left_out) {
  const Turn turn(parts_->mu);
  return parts_->removal.Plan(top, left_out);
}

Status Catalog::MarkLeftOut(const Disk& disk, const Layer& top, const Layers& layers) {
  CHAINFS_ASSIGN(const size_t source, parts_->records.WritableSourceOf(disk));
  const Turn turn(parts_->mu);
  // Then nothing that lasts has their contents.
  const Result<FileStat> stat = top.image->file().Stat();
  if (parts_->chains.condemned().contains(top.id) || (stat && stat->links == 0)) {
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: was removed while it was being filled, so what it is "
                                       "built on stays",
                                       top.path)));
  }
  return parts_->marks.Add(source, top, layers);
}

LeftOutLayers Catalog::RemoveUnneeded(const Layer& top, const Layers& left_out, bool anywhere) {
  // Somebody may have built something on them that nobody has seen yet.
  (void)Rescan();
  LeftOutLayers result = [&] {
    const Turn turn(parts_->mu);
    return parts_->removal.Remove(top, left_out, anywhere);
  }();
  parts_->events.Deliver();
  return result;
}

Status Catalog::AllowWriting(const DiskPtr& disk) {
  Status allowed = [&]() -> Status {
    const Turn turn(parts_->mu);
    if (options().read_only) return Fail(ErrorKind::kReadOnly, std::string(kMountReadOnly));
    const CatalogEntry* const entry = parts_->chains.EntryOf(disk.get());
    const LeftOutMarks::Mark* const mark = entry == nullptr ? nullptr : parts_->marks.Of(*entry);
    if (mark == nullptr || mark->contents.kind != MarkKind::kMerged) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("{}: no stream has left it out, so there is nothing to thaw", disk->name()));
    }
    CHAINFS_TRY(parts_->marks.Remove(entry->id()));
    parts_->scanner.UpdateRoles();
    return {};
  }();
  parts_->events.Deliver();
  return allowed;
}

Result<LeftOutLayers> Catalog::Revert(const DiskPtr& disk, const Layer& to, bool anywhere,
                                      bool dry_run) {
  Result<LeftOutLayers> reverted = [&]() -> Result<LeftOutLayers> {
    const Turn turn(parts_->mu);
    CHAINFS_TRY(parts_->pauses.CheckOpen());
    if (options().read_only) return Fail(ErrorKind::kReadOnly, std::string(kMountReadOnly));
    return parts_->reverter.Revert(disk, to, anywhere, dry_run);
  }();
  parts_->events.Deliver();
  return reverted;
}

size_t Catalog::Remembered() {
  const Turn turn(parts_->mu);
  return parts_->pool.size() + parts_->roots.open_directories() + parts_->hidden.remembered() +
         parts_->chains.ghosts() + parts_->chains.entries().size() + parts_->records.disks() +
         Held();
}

void Catalog::AnnounceEnd() {
  parts_->pauses.AnnounceEnd();
  const Turn turn(parts_->mu);
  if (!parts_->pauses.closed()) parts_->pool.AnnounceEnd();
}

Status Catalog::Close() {
  parts_->pauses.AnnounceEnd();
  parts_->repairs.Stop();
  const Turn turn(parts_->mu);
  return parts_->pauses.Close() ? parts_->pool.CloseAll() : Status();
}

}  // namespace chainfs
