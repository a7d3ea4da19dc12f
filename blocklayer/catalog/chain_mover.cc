// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_mover.h"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "blocklayer/catalog/dropped_file.h"
#include "blocklayer/catalog/layer_removal.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_holders.h"

namespace chainfs {
namespace {

std::string Joined(const std::vector<std::string>& phrases) {
  return fmt::format("{}", fmt::join(phrases, "; "));
}

}  // namespace

Result<CatalogEntry*> ChainMover::WritableEntry(const DiskPtr& disk) {
  CatalogEntry* const entry = chains_.EntryOf(disk.get());
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk->name()));
  }
  if (read_only_ || entry->frozen || disk->read_only()) {
    return Fail(ErrorKind::kReadOnly, EscapeText(fmt::format("{} is read-only: {}", entry->name,
                                                             disk->ReadOnlyReason())));
  }
  return entry;
}

Result<std::vector<std::string>> ChainMover::UsersOf(const DiskPtr& disk, const Layer& layer,
                                                     const Layer& whole, const std::string& job) {
  const Layers layers = disk->chain()->AllLayers();
  const auto at =
      std::ranges::find_if(layers, [&](const LayerPtr& each) { return each.get() == &layer; });
  if (at == layers.end()) {
    return Fail(ErrorKind::kNotFound,
                EscapeText(fmt::format("{}: {} is not in its chain", disk->name(), layer.path)));
  }
  CHAINFS_ASSIGN(const HiddenUsers::Around around, hidden_.FindAround({*at}));
  CHAINFS_TRY(scanner_.Scan(Scanner::Kind::kQuick));
  const CatalogEntry* const entry = chains_.EntryOf(disk.get());
  LayerNeeds::Sight sight{.gone = {},
                          .skipped = whole.id,
                          .own_record = entry == nullptr ? "" : entry->candidate.path,
                          .own_job = job,
                          .around = &around};
  for (auto above = layers.begin(); above != at; ++above) sight.gone.insert((*above)->id);
  return needs_.UsersOf(layer, sight);
}

Status ChainMover::CheckUnused(const CatalogEntry& entry, const MovePlan& plan,
                               const ContinueRequest& request, const HiddenUsers::Around& around) {
  LayerNeeds::Sight sight{.gone = {},
                          .skipped = entry.id(),
                          .own_record = entry.candidate.path,
                          .own_job = request.job,
                          .around = &around};
  for (const LayerPtr& left : plan.left) sight.gone.insert(left->id);
  const LayerPtr& to = plan.layers.front();
  std::vector<std::string> users = needs_.UsersOf(*to, sight);
  const auto own = chains_.entries().find(plan.location.path);
  if (own != chains_.entries().end() && own->second.candidate.named_by_user) {
    users.emplace_back("it is named as a source");
  }
  // Whoever removes a layer asks what else it is needed for.
  for (const LayerPtr& left : plan.left) {
    if (!request.remove_left) break;
    CHAINFS_TRY(LayerRemoval::CheckAllowed(roots_, *left, request.anywhere));
    LayerNeeds::Sight whose = sight;
    if (left->id != entry.id()) whose.gone.erase(left->id);
    for (std::string& user : needs_.UsersOf(*left, whose)) {
      users.push_back(fmt::format("{}: {}", left->path, user));
    }
  }
  if (users.empty()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: cannot go on with {}: {}", entry.name,
                                                       to->path, Joined(users))));
}

Status ChainMover::CheckHeld(const CatalogEntry& entry, MovePlan& plan, const ChainRecord& record) {
  if (record.held_for.empty()) return {};
  const LayerPtr& to = plan.layers.front();
  if (plan.left.size() != 1 || to->path != record.backing) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: {} holds a point in time of it; wait until it has ended, or "
                            "cancel it",
                            entry.name, record.held_for));
  }
  const auto held = chains_.entries().find(plan.location.path);
  if (held == chains_.entries().end() || held->second.disk == nullptr) return {};
  if (!held->second.disk->access().CloseToReaders()) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: somebody has it open; close it first", held->second.name));
  }
  plan.held = held->second.disk;
  return {};
}

Status ChainMover::CheckThere(const MovePlan& plan) {
  const Result<FileId> leads = plan.location.directory->WhereLeads(plan.location.name);
  const LayerPtr& to = plan.layers.front();
  if (leads && *leads == to->id) return {};
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: it was renamed or replaced; put it back", to->path)));
}

Result<ChainMover::MovePlan> ChainMover::Plan(const CatalogEntry& entry,
                                              const ContinueRequest& request,
                                              const HiddenUsers::Around& around) {
  const Layers layers = entry.disk->chain()->AllLayers();
  MovePlan plan{.layers = {}, .left = {}, .before = layers.front(), .location = {}, .held = {}};
  if (request.target != nullptr) {
    plan.layers = request.target->layers();
    Layers gone = layers;
    std::erase_if(gone, [&](const LayerPtr& layer) {
      return std::ranges::find(plan.layers, layer) != plan.layers.end();
    });
    CHAINFS_TRY(CheckHoldNoSnapshots(gone, "moving the disk to its mirror"));
  } else {
    const auto at = std::ranges::find(layers, request.to);
    if (at == layers.end()) {
      return Fail(ErrorKind::kNotFound, EscapeText(fmt::format("{}: {} is not in its chain",
                                                               entry.name, request.to->path)));
    }
    if (at == layers.begin()) {
      return Fail(
          ErrorKind::kInvalidArgument,
          EscapeText(fmt::format("{}: {} is its active layer", entry.name, request.to->path)));
    }
    plan.layers = Layers(at, layers.end());
    plan.left = Layers(layers.begin(), at);
    CHAINFS_TRY(CheckHoldNoSnapshots(plan.left, "a commit"));
  }
  const LayerPtr& to = plan.layers.front();
  std::vector<std::string> extra = entry.candidate.extra_roots;
  // The catalog has opened it, so it lies where it may.
  extra.push_back(DirectoryOf(to->path));
  CHAINFS_ASSIGN(plan.location, roots_.Find(to->path, extra));
  const auto there = chains_.entries().find(plan.location.path);
  CHAINFS_TRY(CheckThere(plan));
  if (there != chains_.entries().end() && there->second.id() != to->id) {
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: it was renamed or replaced; put it back", to->path)));
  }
  CHAINFS_TRY(CheckUnused(entry, plan, request, around));
  return plan;
}

Result<ChainRecord> ChainMover::RecordAfter(const MovePlan& plan, const ChainRecords::Known& known,
                                            const ContinueRequest& request) {
  ChainRecord record = known.contents;
  record.active = plan.location.path;
  record.format = plan.layers.front()->image->format();
  record.backing.clear();
  record.held_for.clear();
  const auto need_root = [&](const std::string& path) {
    const std::string root = DirectoryOf(path);
    const bool known_root =
        roots_.Contains(path) || std::ranges::find(record.roots, root) != record.roots.end();
    if (!known_root) record.roots.push_back(root);
  };
  std::vector<ChainRecord::Dropped> left;
  for (const LayerPtr& layer : plan.left) {
    left.push_back(DroppedOf(*layer));
  }
  if (request.target != nullptr) {
    record.merged.push_back(DroppedOf(*plan.before));
    record.merged_by = request.job;
    need_root(plan.before->path);
  }
  for (const LayerPtr& layer : plan.layers) need_root(layer->path);
  for (const LayerPtr& layer : plan.left) need_root(layer->path);
  // What the chain goes on with is not what it once left.
  const auto goes_on = [&](const ChainRecord::Dropped& dropped) {
    return std::ranges::any_of(plan.layers,
                               [&](const LayerPtr& layer) { return layer->path == dropped.path; });
  };
  std::vector<ChainRecord::Dropped>& list = request.remove_left ? record.drops : record.stale;
  std::erase_if(record.drops, goes_on);
  std::erase_if(record.stale, goes_on);
  std::erase_if(record.merged, goes_on);
  list.insert(list.begin(), left.begin(), left.end());
  return record;
}

Status ChainMover::Switch(CatalogEntry& entry, const MovePlan& plan,
                          const ChainRecords::Known& known, const ChainRecord& record,
                          const ContinueRequest& request) {
  RecordDirectory& store = sources_.records(entry.candidate.source);
  CHAINFS_TRY(store.CheckTrusted(record));
  // Nobody else may be about to write it.
  const LayerPtr& to = plan.layers.front();
  const LayerRole role = pool_.RoleOf(to);
  CHAINFS_TRY(pool_.SetRole(to, LayerRole::kActive));
  bool written = false;
  Status switched = entry.disk->ContinueOn(plan.layers, request.last_round, [&]() -> Status {
    CHAINFS_TRY(CheckThere(plan));
    written = true;
    return chain_records_.Write(entry, known.file, record);
  });
  if (switched) return switched;
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(to, role);
  if (!written || chain_records_.Restore(entry, known)) return switched;
  // The record may name the other layer as active, and cannot be changed.
  entry.disk->access().Forbid(
      "a change of its active layer failed and its record could not be taken back; mount again");
  return switched;
}

LeftOutLayers ChainMover::Finish(CatalogEntry& entry, const MovePlan& plan,
                                 const ChainRecords::Known& known, ChainRecord record) {
  const DiskPtr disk = entry.disk;
  const size_t source = entry.candidate.source;
  const LayerPtr& to = plan.layers.front();
  std::set<FileId> replaced{to->id};
  for (const LayerPtr& layer : plan.left) replaced.insert(layer->id);
  Candidate candidate = entry.candidate;
  candidate.path = plan.location.path;
  candidate.location = plan.location;
  candidate.format = record.format;
  candidate.file_name = plan.location.name;
  candidate.record = known.file;
  candidate.extra_roots = record.roots;
  (void)chains_.TakePlace(entry, replaced, std::move(candidate), to->id);
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(plan.before, LayerRole::kBacking);
  LeftOutLayers result;
  Status finished = dropped_.Mark(source, to->id, record);
  if (finished) {
    finished = dropped_.Remove(sources_.records(source), known.file, record, &result.removed);
  }
  if (!finished) result.problem = EscapeText(finished.error().message);
  for (const LayerPtr& layer : plan.left) {
    const bool gone = std::ranges::find(result.removed, layer->path) != result.removed.end();
    if (!gone) result.unneeded.push_back(layer->path);
  }
  scanner_.ShowChanges();
  return result;
}

Result<LeftOutLayers> ChainMover::ContinueOn(const DiskPtr& disk, const ContinueRequest& request) {
  // Somebody may have built something on it that nobody has seen yet.
  Layers looked_at = disk->chain()->AllLayers();
  if (request.target != nullptr) looked_at.push_back(request.target->image());
  CHAINFS_ASSIGN(const HiddenUsers::Around around, hidden_.FindAround(looked_at));
  CHAINFS_TRY(scanner_.Scan(Scanner::Kind::kQuick));
  CHAINFS_ASSIGN(CatalogEntry* const entry, WritableEntry(disk));
  CHAINFS_ASSIGN(MovePlan plan, Plan(*entry, request, around));
  CHAINFS_ASSIGN(const ChainRecords::Known known, chain_records_.Of(*entry));
  CHAINFS_ASSIGN(ChainRecord record, RecordAfter(plan, known, request));
  CHAINFS_TRY(CheckHeld(*entry, plan, known.contents));
  const uint64_t size = disk->size();
  if (Status switched = Switch(*entry, plan, known, record, request); !switched) {
    if (plan.held != nullptr) plan.held->access().OpenToReaders();
    return std::unexpected(std::move(switched).error());
  }
  LeftOutLayers result = Finish(*entry, plan, known, std::move(record));
  if (disk->size() != size) {
    events_.Add([disk](CatalogObserver& observer) { observer.ContentsChanged(disk); });
  }
  events_.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return result;
}

}  // namespace chainfs
