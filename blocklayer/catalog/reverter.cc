// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/reverter.h"

#include <fmt/format.h>
#include <algorithm>
#include <set>
#include <utility>

#include "blocklayer/catalog/dropped_file.h"
#include "blocklayer/catalog/layer_removal.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_holders.h"

namespace chainfs {

Status Reverter::CheckUnneeded(const Layer& layer, const RevertPlan& plan,
                               const CatalogEntry& entry, const HiddenUsers::Around& around,
                               bool anywhere) {
  CHAINFS_TRY(LayerRemoval::CheckAllowed(roots_, layer, anywhere));
  LayerNeeds::Sight sight{
      .gone = {}, .skipped = std::nullopt, .own_record = entry.candidate.path, .around = &around};
  for (const LayerPtr& dropped : plan.dropped) {
    if (dropped->id != layer.id || layer.id == entry.id()) sight.gone.insert(dropped->id);
  }
  std::string why = needs_.Because(layer.id, layer.path, sight);
  if (why.empty() && layer.image->file().LockedByOthers()) why = "another process uses it";
  if (why.empty()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: cannot be reverted: {}: {}", entry.name,
                                                       layer.path, why)));
}

Result<Reverter::RevertPlan> Reverter::Plan(const CatalogEntry& entry, const Layer& to,
                                            const HiddenUsers::Around& around, bool anywhere) {
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
                  .location = {},
                  .rest = Layers(at, layers.end())};
  CHAINFS_TRY(CheckWhole(plan));
  CHAINFS_TRY(CheckHoldNoSnapshots(plan.dropped, "a revert"));
  for (const LayerPtr& layer : plan.dropped) {
    CHAINFS_TRY(CheckUnneeded(*layer, plan, entry, around, anywhere));
  }
  CHAINFS_TRY(CheckUnneeded(to, plan, entry, around, anywhere));
  std::vector<std::string> extra = entry.candidate.extra_roots;
  if (anywhere) extra.push_back(DirectoryOf(to.path));
  CHAINFS_ASSIGN(plan.location, roots_.Find(to.path, extra));
  const Result<FileId> leads = plan.location.directory->WhereLeads(plan.location.name);
  const auto there = chains_.entries().find(plan.location.path);
  if (!leads || *leads != to.id ||
      (there != chains_.entries().end() && there->second.id() != to.id)) {
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: it was renamed or replaced; put it back", to.path)));
  }
  return plan;
}

Status Reverter::CheckWhole(const RevertPlan& plan) const {
  for (const LayerPtr& layer : plan.rest) {
    const LeftOutMarks::Mark* const mark = marks_.Find(layer->id);
    if (mark == nullptr || mark->contents.kind == MarkKind::kMerged) continue;
    if (!mark->unread.empty()) {
      return Fail(ErrorKind::kIo,
                  EscapeText(fmt::format("{}: whether {} shows a mixture is unknown: {}",
                                         plan.to->path, layer->path, mark->unread)));
    }
    const std::string& whole = mark->contents.into;
    if (std::ranges::find(plan.rest, whole, &Layer::path) != plan.rest.end()) continue;
    return Fail(
        ErrorKind::kInvalidArgument,
        EscapeText(fmt::format("{}: shows a mixture, because the job {} wrote to {} and did "
                               "not finish; only {} and what is built on it are whole",
                               plan.to->path, mark->contents.job, layer->path, whole)));
  }
  return {};
}

ChainRecord Reverter::RecordAfter(const RevertPlan& plan, const ChainRecords::Known& known) {
  ChainRecord record = known.contents;
  record.active = plan.location.path;
  record.format = plan.to->image->format();
  record.backing.clear();
  std::vector<ChainRecord::Dropped> drops;
  const auto need_root = [&](const std::string& path) {
    const std::string root = DirectoryOf(path);
    const bool known_root =
        roots_.Contains(path) || std::ranges::find(record.roots, root) != record.roots.end();
    if (!known_root) record.roots.push_back(root);
  };
  for (const LayerPtr& layer : plan.dropped) {
    drops.push_back(DroppedOf(*layer));
    need_root(layer->path);
  }
  need_root(plan.location.path);
  drops.insert(drops.end(), record.drops.begin(), record.drops.end());
  record.drops = std::move(drops);
  return record;
}

Status Reverter::SwitchBack(CatalogEntry& entry, const RevertPlan& plan,
                            const ChainRecords::Known& known, const ChainRecord& record) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  CHAINFS_TRY(store.CheckTrusted(record));
  // Nobody else may be about to write it.
  CHAINFS_TRY(pool_.SetRole(plan.to, LayerRole::kActive));
  bool written = false;
  Status switched = entry.disk->GoBack(plan.rest, [&]() -> Status {
    written = true;
    return chain_records_.Write(entry, known.file, record);
  });
  if (switched) return switched;
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(plan.to, LayerRole::kBacking);
  if (!written || chain_records_.Restore(entry, known)) return switched;
  // The record may name the older layer as active, and cannot be changed.
  entry.disk->access().Forbid(
      "a revert failed and its record could not be taken back; mount again");
  return switched;
}

CatalogEntry& Reverter::TakePlaceOf(CatalogEntry& entry, const RevertPlan& plan,
                                    const ChainRecords::Known& known, const ChainRecord& record) {
  std::set<FileId> replaced{plan.to->id};
  for (const LayerPtr& layer : plan.dropped) replaced.insert(layer->id);
  Candidate candidate = entry.candidate;
  candidate.path = plan.location.path;
  candidate.location = plan.location;
  candidate.format = record.format;
  candidate.file_name = plan.location.name;
  candidate.record = known.file;
  candidate.extra_roots = record.roots;
  CatalogEntry& moved = chains_.TakePlace(entry, replaced, std::move(candidate), plan.to->id);
  moved.frozen = true;
  moved.frozen_because = kStillBacked;
  return moved;
}

Result<LeftOutLayers> Reverter::Revert(const DiskPtr& disk, const Layer& to, bool anywhere,
                                       bool dry_run) {
  // Somebody may have built something on them that nobody has seen yet.
  CHAINFS_ASSIGN(const HiddenUsers::Around around, hidden_.FindAround(disk->chain()->AllLayers()));
  CHAINFS_TRY(scanner_.Scan(Scanner::Kind::kQuick));
  CatalogEntry* const found = chains_.EntryOf(disk.get());
  if (found == nullptr) {
    return Fail(ErrorKind::kNotFound, "the disk is gone; it was renamed or removed");
  }
  CatalogEntry& entry = *found;
  CHAINFS_ASSIGN(const RevertPlan plan, Plan(entry, to, around, anywhere));
  CHAINFS_ASSIGN(const ChainRecords::Known known, chain_records_.Of(entry));
  if (const std::string& job = known.contents.held_for; !job.empty()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: {} holds a point in time of it; wait until it has ended, or "
                            "cancel it",
                            entry.name, job));
  }
  LeftOutLayers result;
  for (const LayerPtr& layer : plan.dropped) result.unneeded.push_back(layer->path);
  if (dry_run) return result;
  const bool was_read_only = disk->read_only();
  if (!disk->StopWriting()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: is open for writing; close it first", entry.name));
  }
  ChainRecord record = RecordAfter(plan, known);
  if (Status switched = SwitchBack(entry, plan, known, record); !switched) {
    if (!was_read_only) (void)disk->AllowWriting();
    return std::unexpected(std::move(switched).error());
  }
  RecordDirectory& store = sources_.records(entry.candidate.source);
  CatalogEntry& moved = TakePlaceOf(entry, plan, known, record);
  // The mark of a stream means nothing for a layer that a record names.
  (void)marks_.Remove(plan.to->id);
  events_.Add([disk](CatalogObserver& observer) { observer.ContentsChanged(disk); });
  roles_.Thaw(moved);
  events_.Add([disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
  result.unneeded.clear();
  const Status finished = dropped_.Remove(store, known.file, record, &result.removed);
  if (!finished) result.problem = EscapeText(finished.error().message);
  scanner_.ShowChanges();
  events_.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return result;
}

}  // namespace chainfs
