// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_moves.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/catalog_parts.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

std::string OverlayNameFor(const Disk& disk, const std::string& job) {
  return fmt::format("{}.{}.qcow2", disk.name(), job);
}

Result<LeftOutLayers> ChainMoves::ContinueOn(const DiskPtr& disk, const ContinueRequest& request) {
  Result<LeftOutLayers> moved = [&]() -> Result<LeftOutLayers> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    // Or the next mount would not show the disk.
    if (request.target != nullptr) {
      CHAINFS_TRY(parts_.marks.CheckWhole(
          request.target->layers(),
          fmt::format("{}: cannot go on with {}", disk->name(), request.target->image()->path),
          "or cancel the job"));
    }
    return parts_.mover.ContinueOn(disk, request);
  }();
  parts_.events.Deliver();
  return moved;
}

Result<std::vector<std::string>> ChainMoves::UsersOf(const DiskPtr& disk, const Layer& layer,
                                                     const Layer& whole, const std::string& job) {
  Result<std::vector<std::string>> users = [&]() -> Result<std::vector<std::string>> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    return parts_.mover.UsersOf(disk, layer, whole, job);
  }();
  // It has looked at the sources.
  parts_.events.Deliver();
  return users;
}

Result<ChainMoves::TakeBack> ChainMoves::MarkChanging(const Disk& disk, const Layers& layers,
                                                      const Layer& whole, const std::string& job) {
  CHAINFS_ASSIGN(const size_t source, parts_.records.WritableSourceOf(disk));
  Result<LeftOutMarks::Before> before = [&]() -> Result<LeftOutMarks::Before> {
    const Turn turn(parts_.mu);
    CHAINFS_ASSIGN(LeftOutMarks::Before replaced,
                   parts_.spoilt.Mark(source, disk.chain()->AllLayers(), layers, whole, job));
    parts_.scanner.UpdateRoles();
    return replaced;
  }();
  parts_.events.Deliver();
  if (!before) return std::unexpected(std::move(before).error());
  return [&parts = parts_, before = *std::move(before)]() -> Status {
    Status back = [&]() -> Status {
      const Turn turn(parts.mu);
      Status put_back = parts.marks.PutBack(before);
      parts.scanner.UpdateRoles();
      return put_back;
    }();
    parts.events.Deliver();
    return back;
  };
}

Status ChainMoves::EndedWell(const Disk& disk, const Layer& layer, const Layer& whole) {
  Status ended = [&]() -> Status {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.spoilt.EndedWell(disk.chain()->AllLayers(), layer, whole));
    parts_.scanner.UpdateRoles();
    return {};
  }();
  parts_.events.Deliver();
  return ended;
}

Status ChainMoves::CheckWhole(const Disk& disk) {
  const Turn turn(parts_.mu);
  return parts_.marks.CheckWhole(
      disk.chain()->AllLayers(),
      fmt::format("{}: cannot be copied: it shows a mixture", disk.name()),
      "or copy a disk that shows it whole");
}

Result<bool> ChainMoves::Changing(const Layer& layer) {
  const Turn turn(parts_.mu);
  const LeftOutMarks::Mark* const mark = parts_.marks.Find(layer.id);
  if (mark != nullptr && !mark->unread.empty()) return Fail(ErrorKind::kIo, mark->unread);
  return mark != nullptr && mark->contents.kind == MarkKind::kChanging;
}

Status ChainMoves::UnmarkChanging(const Layers& layers) {
  Status unmarked = [&]() -> Status {
    const Turn turn(parts_.mu);
    for (const LayerPtr& layer : layers) {
      const LeftOutMarks::Mark* const mark = parts_.marks.Find(layer->id);
      if (mark == nullptr || mark->contents.kind != MarkKind::kChanging) continue;
      if (!mark->unread.empty()) return Fail(ErrorKind::kIo, mark->unread);
      CHAINFS_TRY(parts_.marks.Remove(layer->id));
    }
    parts_.scanner.UpdateRoles();
    return {};
  }();
  parts_.events.Deliver();
  return unmarked;
}

void ChainMoves::TellChanged(const Layers& layers) {
  {
    const Turn turn(parts_.mu);
    for (const auto& [path, entry] : parts_.chains.entries()) {
      const DiskPtr& disk = entry.disk;
      const bool changed =
          disk != nullptr && std::ranges::find(layers, disk->chain()->active) != layers.end();
      if (!changed) continue;
      parts_.events.Add([changed_disk = disk](CatalogObserver& observer) {
        observer.ContentsChanged(changed_disk);
      });
    }
  }
  parts_.events.Deliver();
}

Result<FrozenPoint> ChainMoves::FreezeFor(const DiskPtr& disk, const FreezeRequest& request) {
  Result<FrozenPoint> point = [&]() -> Result<FrozenPoint> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    return parts_.snapshotter.FreezeFor(disk, request);
  }();
  parts_.events.Deliver();
  return point;
}

Result<std::optional<FrozenPoint>> ChainMoves::FrozenFor(const DiskPtr& disk, std::string_view id) {
  const Turn turn(parts_.mu);
  CHAINFS_TRY(parts_.pauses.CheckOpen());
  return parts_.snapshotter.Held(disk, id);
}

Result<bool> ChainMoves::HoldsPoint(std::string_view id) {
  const Turn turn(parts_.mu);
  CHAINFS_ASSIGN(const std::vector<ChainRecord> records, parts_.sources.ChainRecords());
  return std::ranges::find(records, id, &ChainRecord::held_for) != records.end();
}

Status ChainMoves::CheckMayWrite(const Disk& disk, const Layers& layers) {
  const Turn turn(parts_.mu);
  const LayerPtr active = disk.read_only() ? nullptr : disk.chain()->active;
  for (const LayerPtr& layer : layers) {
    if (layer == active) continue;
    const Result<FileLocation> place = parts_.roots.FindNew(*layer->directory, layer->name, false);
    if (place) continue;
    if (place.error().kind != ErrorKind::kAccess) return std::unexpected(place.error());
    return Fail(ErrorKind::kAccess,
                EscapeText(fmt::format("{}: lies outside the source directories; only root may "
                                       "have it written",
                                       layer->path)));
  }
  return {};
}

Result<Layers> ChainMoves::SnapshotTogether(const GroupRequest& request) {
  Result<Layers> overlays = [&]() -> Result<Layers> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    return parts_.group_snapshotter.Take(request);
  }();
  parts_.events.Deliver();
  return overlays;
}

Result<std::vector<std::string>> ChainMoves::PlanTogether(const GroupRequest& request) {
  const Turn turn(parts_.mu);
  CHAINFS_TRY(parts_.pauses.CheckOpen());
  return parts_.group_snapshotter.PlanTargets(request);
}

Result<TargetImagePtr> ChainMoves::OpenTarget(const DiskPtr& disk, const TargetRequest& request) {
  Result<Layers> layers = [&]() -> Result<Layers> {
    const Turn turn(parts_.mu);
    CHAINFS_TRY(parts_.pauses.CheckOpen());
    return parts_.targets.Open(disk, request);
  }();
  parts_.events.Deliver();
  if (!layers) return std::unexpected(std::move(layers).error());
  const auto give_back = [&parts = parts_](const LayerPtr& image, TargetImage::End end) {
    Status given_back = [&]() -> Status {
      const Turn turn(parts.mu);
      return parts.targets.GiveBack(image, end);
    }();
    parts.events.Deliver();
    return given_back;
  };
  return std::make_shared<TargetImage>(*std::move(layers), give_back);
}

}  // namespace chainfs
