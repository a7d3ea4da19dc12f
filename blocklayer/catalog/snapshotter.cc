// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshotter.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Result<std::string> Snapshotter::PlanTarget(const DiskPtr& disk, const SnapshotRequest& request) {
  CHAINFS_ASSIGN(const PlannedSnapshot plan, steps_.Plan(disk, request));
  return plan.target.path;
}

Result<LayerPtr> Snapshotter::Take(const DiskPtr& disk, const SnapshotRequest& request,
                                   const std::string& held_for) {
  CHAINFS_ASSIGN(PlannedSnapshot plan, steps_.Plan(disk, request));
  CHAINFS_ASSIGN(const PreparedSnapshot prepared,
                 steps_.Prepare(std::move(plan), request, {.held_for = held_for, .group = {}}));
  const PlannedSnapshot& planned = prepared.plan;
  Status switched = disk->SwitchActive(prepared.overlay, [&] {
    Status written = chain_records_.Write(*planned.entry, planned.known.file, prepared.record);
    // It may be there, and guests must not go on with what it says is frozen. TakeBack sees whether
    // that went well.
    if (!written) (void)chain_records_.Restore(*planned.entry, planned.known);
    return written;
  });
  if (!switched) {
    steps_.TakeBack(prepared);
    return std::unexpected(std::move(switched).error());
  }
  steps_.Finish(prepared);
  // What was active shows up as a disk of its own. The snapshot stands even if this fails.
  scanner_.ShowChanges();
  events_.Add([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
  return prepared.overlay;
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
  if (layers.front()->name != FileNameOf(known.contents.active)) {
    // The record of a snapshot that failed could not be taken back.
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: goes on in {} by its record, and not yet here; mount "
                                       "again",
                                       entry->name, known.contents.active)));
  }
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
    snapshot.target = OverlayNameFor(*disk, request.id);
  }
  CHAINFS_ASSIGN(LayerPtr overlay, Take(disk, snapshot, request.id));
  return FrozenPoint{.frozen = frozen, .overlay = std::move(overlay)};
}

}  // namespace chainfs
