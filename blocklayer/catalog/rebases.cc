// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/rebases.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/catalog/catalog_parts.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/chain/chain_switch.h"

namespace chainfs {
namespace {

ChainOpener OpenerFor(CatalogParts& parts) REQUIRES(parts.mu) {
  return {parts.roots, parts.pool,
          ChainRules{.assume_backing_format = parts.options.assume_backing_format,
                     .max_depth = parts.options.max_depth}};
}

FileLocation LocationOf(const Layer& layer) {
  return {.directory = layer.directory, .name = layer.name, .path = layer.path};
}

std::vector<FileId> IdsOf(const WalkedChain& walked) {
  std::vector<FileId> ids;
  ids.reserve(walked.files.size());
  for (const LayerFile& file : walked.files) ids.push_back(file.stat.id);
  return ids;
}

// The layers of the disk down to `top`; empty when it is not among them.
Layers DownTo(const Disk& disk, const Layer& top) {
  const Layers layers = disk.chain()->AllLayers();
  const auto at =
      std::ranges::find_if(layers, [&](const LayerPtr& layer) { return layer.get() == &top; });
  return at == layers.end() ? Layers() : Layers(layers.begin(), at + 1);
}

std::unexpected<Error> Gone(const Disk& disk) {
  return Fail(ErrorKind::kNotFound,
              fmt::format("{}: the disk is gone; it was renamed or removed", disk.name()));
}

std::unexpected<Error> Renamed(const std::string& path) {
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: it was renamed or replaced; put it back", path)));
}

Result<ImageFormat> FormatOf(const FormatRegistry& formats, const RebaseRequest& request,
                             const std::string& file) {
  if (request.format) return *request.format;
  const std::string_view extension = formats.ExtensionOf(file);
  const FormatRow* const row = formats.FindByExtension(extension);
  if (row != nullptr) return row->format;
  return Fail(ErrorKind::kInvalidArgument,
              EscapeText(fmt::format("{}: its extension does not say its format; say format={}",
                                     request.base, formats.Names())));
}

// What another base shows was not written, so bitmaps of these layers would not tell of it.
Status CheckNothingRecords(const Layers& layers) {
  for (const LayerPtr& layer : layers) {
    CHAINFS_ASSIGN(const std::vector<BitmapInfo> bitmaps, layer->image->Bitmaps());
    for (const BitmapInfo& bitmap : bitmaps) {
      if (!bitmap.enabled || bitmap.inconsistent) continue;
      return Fail(ErrorKind::kInvalidArgument,
                  EscapeText(fmt::format("{}: its bitmap \"{}\" would not tell what another base "
                                         "changes; disable or remove it first",
                                         layer->path, bitmap.name)));
    }
  }
  return {};
}

}  // namespace

Result<NewBase> Rebases::Open(const DiskPtr& disk, const RebaseRequest& request) {
  Result<NewBase> base = [&]() -> Result<NewBase> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    Result<NewBase> opened = OpenNow(disk, request);
    // Of a base that was frozen: who would write it waits until it is let go of.
    parts_.scanner.UpdateRoles();
    return opened;
  }();
  parts_.events.Deliver();
  return base;
}

Result<NewBase> Rebases::OpenNow(const DiskPtr& disk, const RebaseRequest& request) {
  parts_.mu.AssertHeld();
  const CatalogEntry* const entry = parts_.chains.EntryOf(disk.get());
  if (entry == nullptr) return Gone(*disk);
  const Layer& top = *request.top;
  const Layers above = DownTo(*disk, top);
  if (above.empty()) return Renamed(top.path);
  if (request.unsafe) CHAINFS_TRY(CheckAlone(*disk, request.top));
  NewBase base;
  const std::vector<std::string>& extra = entry->candidate.extra_roots;
  CHAINFS_ASSIGN(base.location, parts_.roots.Resolve(LocationOf(top), request.base, extra));
  CHAINFS_ASSIGN(const ImageFormat format,
                 FormatOf(parts_.pool.formats(), request, base.location.name));
  ChainOpener opener = OpenerFor(parts_);
  const WalkedChain walked = opener.Walk(base.location, format, extra);
  if (walked.error) return std::unexpected(*walked.error);
  if (above.size() + walked.files.size() > parts_.options.max_depth) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: the chain would be deeper than {} layers", disk->name(),
                                       parts_.options.max_depth)));
  }
  CHAINFS_TRY(CheckApart(top, IdsOf(walked), base.location.path));
  for (const LayerFile& file : walked.files) {
    const LeftOutMarks::Mark* const mark = parts_.marks.Find(file.stat.id);
    if (mark == nullptr) continue;
    return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: nothing new can stand on it: {}",
                                                         file.location.path, mark->Reason())));
  }
  const FileId id = walked.files.front().stat.id;
  const Layers layers = disk->chain()->AllLayers();
  base.already = layers.size() > above.size() && layers[above.size()]->id == id;
  if (!base.already) CHAINFS_TRY(Freeze(id));
  CHAINFS_ASSIGN(base.layers,
                 opener.Open(walked, [](const FileId& /*file*/) { return LayerRole::kBacking; }));
  CHAINFS_ASSIGN(base.stack, LayerStack::Make(base.layers, *parts_.context));
  return base;
}

Status Rebases::CheckAlone(const Disk& disk, const LayerPtr& top) {
  parts_.mu.AssertHeld();
  if (disk.chain()->active != top) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: only what the active layer stands on can be exchanged "
                                       "unsafely, and {} is not the active layer",
                                       disk.name(), top->path)));
  }
  const LayerUsers backed = parts_.roles.Backed();
  const auto user = backed.find(top->id);
  if (user == backed.end()) return {};
  return Fail(ErrorKind::kBusy,
              EscapeText(fmt::format("{}: cannot be given another base unsafely: {}", top->path,
                                     BuiltOn(user->second))));
}

Status Rebases::CheckApart(const Layer& top, const std::vector<FileId>& base,
                           const std::string& name) {
  parts_.mu.AssertHeld();
  const auto check = [&](const Disk& disk) -> Status {
    for (const LayerPtr& layer : DownTo(disk, top)) {
      if (std::ranges::find(base, layer->id) == base.end()) continue;
      return Fail(ErrorKind::kLoop,
                  EscapeText(fmt::format("{}: {} cannot stand on it: it is built on {}", name,
                                         top.path, layer->path)));
    }
    return {};
  };
  for (const auto& [path, entry] : parts_.chains.entries()) {
    if (entry.disk != nullptr) CHAINFS_TRY(check(*entry.disk));
  }
  for (const DiskPtr& ghost : parts_.chains.Ghosts()) CHAINFS_TRY(check(*ghost));
  return {};
}

Status Rebases::Freeze(const FileId& base) {
  parts_.mu.AssertHeld();
  for (auto& [path, entry] : parts_.chains.entries()) {
    if (entry.disk == nullptr || entry.id() != base) continue;
    if (entry.frozen || parts_.options.read_only) continue;
    if (parts_.roles.FreezeForJob(entry)) continue;
    return Fail(ErrorKind::kBusy,
                EscapeText(fmt::format("{}: its disk {} is open for writing; close it first", path,
                                       entry.name)));
  }
  return {};
}

Result<Rebases::Place> Rebases::FindPlace(const DiskPtr& disk, const LayerPtr& top,
                                          const NewBase& base) {
  parts_.mu.AssertHeld();
  const CatalogEntry* const entry = parts_.chains.EntryOf(disk.get());
  if (entry == nullptr) return Gone(*disk);
  CHAINFS_ASSIGN(const ChainRecords::Known known, parts_.chain_records.Of(*entry));
  if (const std::string& job = known.contents.held_for; !job.empty()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: {} holds a point in time of it; wait until it has ended, or "
                            "cancel it",
                            entry->name, job));
  }
  Place place{.above = DownTo(*disk, *top), .reference = {}};
  if (place.above.empty()) return Renamed(top->path);
  const Candidate& candidate = entry->candidate;
  // As a later reader will look for them.
  ChainOpener opener = OpenerFor(parts_);
  const WalkedChain chain =
      opener.Walk(candidate.location, candidate.format, candidate.extra_roots);
  const auto file = std::ranges::find_if(
      chain.files, [&](const LayerFile& walked) { return walked.stat.id == top->id; });
  if (file == chain.files.end()) return Renamed(top->path);
  const Layer& lowest = *base.layers.front();
  const WalkedChain walked =
      opener.Walk(base.location, lowest.image->format(), candidate.extra_roots);
  std::vector<FileId> opened;
  for (const LayerPtr& layer : base.layers) opened.push_back(layer->id);
  if (walked.error || IdsOf(walked) != opened) return Renamed(base.location.path);
  CHAINFS_TRY(CheckApart(*top, opened, base.location.path));
  CHAINFS_ASSIGN(place.reference, parts_.names.For(file->location, base.location, lowest.id,
                                                   lowest.image->format()));
  CHAINFS_TRY(top->image->writer()->CanSetBacking(place.reference));
  // Whoever wrote them need not have synced.
  for (const LayerPtr& layer : base.layers) {
    for (File* const written : layer->image->HostFiles()) CHAINFS_TRY(written->DataSync());
  }
  return place;
}

Status Rebases::Pivot(const DiskPtr& disk, const LayerPtr& top, const NewBase& base,
                      const std::function<Status()>& same) {
  const Status done = [&]() -> Status {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    CHAINFS_ASSIGN(const Place place, FindPlace(disk, top, base));
    WritableImage& image = *top->image->writer();
    {
      std::optional<ChainSwitch> quiet;
      if (place.above.size() == 1 && !disk->read_only()) quiet.emplace(*disk);
      CHAINFS_TRY(same());
      CHAINFS_TRY(image.Flush());
      CHAINFS_TRY(image.SetBacking(place.reference));
      Publish(top, base.layers);
    }
    parts_.scanner.UpdateRoles();
    return {};
  }();
  parts_.events.Deliver();
  return done;
}

void Rebases::Publish(const LayerPtr& top, const Layers& base) {
  parts_.mu.AssertHeld();
  const auto rebase = [&](Disk& disk) {
    Layers layers = DownTo(disk, *top);
    if (layers.empty()) return false;
    layers.insert(layers.end(), base.begin(), base.end());
    // If it fails, the old list goes on showing the same.
    return disk.ReplaceLayers(std::move(layers)).has_value();
  };
  for (auto& [path, entry] : parts_.chains.entries()) {
    if (entry.disk == nullptr || !rebase(*entry.disk)) continue;
    parts_.events.Add(
        [disk = entry.disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  }
  for (const DiskPtr& ghost : parts_.chains.Ghosts()) (void)rebase(*ghost);
}

Status Rebases::PivotToOther(const DiskPtr& disk, const LayerPtr& top, const NewBase& base) {
  const Status done = [&]() -> Status {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    CHAINFS_ASSIGN(Place place, FindPlace(disk, top, base));
    CHAINFS_TRY(CheckAlone(*disk, top));
    CHAINFS_TRY(CheckNothingRecords(place.above));
    const bool was_read_only = disk->read_only();
    CHAINFS_TRY(disk->Flush());
    if (!disk->StopWriting()) {
      return Fail(ErrorKind::kBusy,
                  fmt::format("{}: is open for writing; close it first", disk->name()));
    }
    WritableImage& image = *top->image->writer();
    Layers layers = std::move(place.above);
    layers.insert(layers.end(), base.layers.begin(), base.layers.end());
    const Status switched = disk->GoBack(std::move(layers), [&]() -> Status {
      CHAINFS_TRY(image.Flush());
      return image.SetBacking(place.reference);
    });
    if (!was_read_only) (void)disk->AllowWriting();
    CHAINFS_TRY(switched);
    parts_.events.Add([disk](CatalogObserver& observer) { observer.ContentsChanged(disk); });
    parts_.events.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
    parts_.scanner.UpdateRoles();
    return {};
  }();
  parts_.events.Deliver();
  return done;
}

}  // namespace chainfs
