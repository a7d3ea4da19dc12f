// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/backup_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "blocklayer/image/create_options.h"
#include "jobs/copy/cluster_keys.h"
#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {
namespace {

constexpr std::array<std::pair<BackupSync, std::string_view>, 3> kSyncWords = {
    {{BackupSync::kFull, "full"}, {BackupSync::kTop, "top"}, {BackupSync::kSince, "since"}}};

std::unexpected<Error> RefuseBackup(const std::string& message) {
  return Fail(ErrorKind::kInvalidArgument, EscapeText(message));
}

// since= alone says how, too.
Result<BackupSync> SyncOf(const verbs::Arguments& arguments) {
  const bool since = arguments.Has("since");
  const std::string word = arguments.Text("sync").value_or(since ? "since" : "full");
  const auto known = std::ranges::find(kSyncWords, word, &decltype(kSyncWords)::value_type::second);
  if (known == kSyncWords.end()) {
    return RefuseBackup(fmt::format("sync={} is not one of full, top, since", word));
  }
  if (since == (known->first == BackupSync::kSince)) return known->first;
  return RefuseBackup(since ? fmt::format("since= does not go with sync={}; leave one out", word)
                            : "sync=since needs since=LAYER: the layer since which it changed");
}

// The layers of `disk` from `frozen` (null: the active one) down.
Result<Layers> PointOf(const Disk& disk, const LayerPtr& frozen) {
  Layers layers = disk.chain()->AllLayers();
  if (frozen == nullptr) return layers;
  const auto from = std::ranges::find(layers, frozen);
  if (from == layers.end()) {
    return Fail(ErrorKind::kStale, EscapeText(fmt::format("{} is not in the chain of {} any more",
                                                          frozen->path, disk.name())));
  }
  return Layers(from, layers.end());
}

// How many layers of the point are above the one called `name`.
Result<uint32_t> LayersAbove(Catalog& catalog, const Disk& disk, const Layers& point,
                             const std::string& name) {
  CHAINFS_ASSIGN(const LayerPtr layer, catalog.FindLayer(disk, name));
  const auto at = std::ranges::find(point, layer);
  if (at == point.end()) {
    return RefuseBackup(
        fmt::format("{} is not below the layer that the backup is of", layer->path));
  }
  if (at == point.begin()) {
    return RefuseBackup(
        fmt::format("{} is the active layer of {}; it has not frozen yet, so there "
                    "is nothing that changed since",
                    layer->path, disk.name()));
  }
  return static_cast<uint32_t>(at - point.begin());
}

// `target` has its format.
Status ParseClusters(const verbs::Arguments& arguments, const LayerPtr& backing,
                     BackupTargetPlan& target) {
  for (const std::string_view key : {"cluster_size", "extended_l2"}) {
    if (target.format != ImageFormat::kRaw || !arguments.Has(key)) continue;
    return RefuseBackup(fmt::format("a raw image has no clusters; leave {} out", key));
  }
  CHAINFS_ASSIGN(const ClusterKeys wanted, ClustersWanted(arguments));
  target.cluster_bits = wanted.bits;
  target.subclusters =
      GetsSubclusters(wanted.subclusters, backing ? backing->image.get() : nullptr, wanted.bits);
  return {};
}

Result<ImageFormat> FormatOf(const verbs::Arguments& arguments, const std::string& name) {
  const std::optional<std::string> word = arguments.Text("format");
  const FormatRegistry& formats = FormatRegistry::BuiltIn();
  const std::optional<ImageFormat> format =
      word ? ParseImageFormat(*word)
           : FormatOfFileName(FileNameOf(name)).value_or(ImageFormat::kQcow2);
  if (!format) {
    return RefuseBackup(fmt::format("format={}: chainfs knows {}", *word, formats.Names()));
  }
  if (formats.Find(*format)->create == nullptr) {
    return RefuseBackup(fmt::format("{}: chainfs only reads {} images; take a qcow2 or a raw image",
                                    name, format->name()));
  }
  return *format;
}

Result<BackupTargetPlan> PlanTarget(Catalog& catalog, const DiskPtr& disk,
                                    const verbs::Arguments& arguments, const BackupPlan& plan,
                                    bool begun) {
  const std::string name = *arguments.Text("target");
  BackupTargetPlan target;
  CHAINFS_ASSIGN(target.format, FormatOf(arguments, name));
  if (target.format == ImageFormat::kRaw && plan.sync != BackupSync::kFull) {
    return RefuseBackup(
        fmt::format("sync={}: a raw image cannot hold a part of a disk; take "
                    "format=qcow2 or sync=full",
                    BackupSyncName(plan.sync)));
  }
  CHAINFS_TRY(ParseClusters(arguments, plan.backing, target));
  CHAINFS_ASSIGN(target.compression, CompressionWanted(arguments));
  if (target.compression && target.format == ImageFormat::kRaw) {
    return RefuseBackup("compress=: a raw image cannot be compressed; take format=qcow2");
  }
  CHAINFS_ASSIGN(target.place, catalog.new_images().Plan(disk, {.name = name,
                                                                .format = target.format,
                                                                .backing = plan.backing,
                                                                .anywhere = plan.anywhere,
                                                                .may_exist = begun}));
  return target;
}

Status CheckWithoutTarget(const verbs::Arguments& arguments, bool hold) {
  if (!hold) {
    return RefuseBackup(
        "target= is missing: the image to make; then=hold without one only holds "
        "the point in time");
  }
  for (const std::string_view key :
       {"format", "sync", "since", "cluster_size", "extended_l2", "compress"}) {
    if (arguments.Has(key)) return RefuseBackup(fmt::format("{}= needs target=", key));
  }
  return {};
}

}  // namespace

std::string_view BackupSyncName(BackupSync sync) {
  for (const auto& [value, name] : kSyncWords) {
    if (value == sync) return name;
  }
  return {};
}

CopySelection BackupPlan::selection() const {
  if (sync == BackupSync::kFull) return {.layers = CopySelection::kAllLayers, .zeros_until = 0};
  return {.layers = selected, .zeros_until = backing ? backing->image->virtual_size() : 0};
}

Result<BackupPlan> PlanBackup(Catalog& catalog, const DiskPtr& disk,
                              const verbs::Arguments& arguments, const BackupBegun& begun,
                              bool anywhere) {
  BackupPlan plan;
  plan.anywhere = anywhere;
  plan.hold = arguments.Text("then") == "hold";
  plan.overlay = arguments.Text("overlay").value_or("");
  CHAINFS_ASSIGN(plan.point, PointOf(*disk, begun.frozen));
  CHAINFS_ASSIGN(plan.sync, SyncOf(arguments));
  plan.selected = static_cast<uint32_t>(plan.point.size());
  if (plan.sync == BackupSync::kTop) plan.selected = 1;
  if (plan.sync == BackupSync::kSince) {
    CHAINFS_ASSIGN(plan.selected,
                   LayersAbove(catalog, *disk, plan.point, *arguments.Text("since")));
  }
  if (!begun.taken_up) CHAINFS_TRY(catalog.moves().CheckWhole(*disk));
  if (plan.selected < plan.point.size()) plan.backing = plan.point[plan.selected];
  if (!arguments.Has("target")) {
    CHAINFS_TRY(CheckWithoutTarget(arguments, plan.hold));
  } else {
    CHAINFS_ASSIGN(plan.target, PlanTarget(catalog, disk, arguments, plan, begun.taken_up));
  }
  // Of a later daemon it may be the active layer, or gone.
  if (plan.overlay.empty() || begun.taken_up) return plan;
  CHAINFS_TRY(CheckOverlay(catalog, disk, plan, plan.overlay, false));
  return plan;
}

Status CheckOverlay(Catalog& catalog, const DiskPtr& disk, const BackupPlan& plan,
                    const std::string& name, bool there) {
  CHAINFS_ASSIGN(
      const NewImagePlan overlay,
      catalog.new_images().Plan(
          disk,
          {.name = name, .format = kOverlayFormat, .anywhere = plan.anywhere, .may_exist = there}));
  if (!plan.target) return {};
  const FileLocation& target = plan.target->place.location;
  if (overlay.location.name != target.name) return {};
  CHAINFS_ASSIGN(const FileId overlay_directory, overlay.location.directory->Id());
  CHAINFS_ASSIGN(const FileId target_directory, target.directory->Id());
  if (overlay_directory != target_directory) return {};
  return RefuseBackup(
      fmt::format("{}: cannot be both the target and the overlay that guests write to meanwhile; "
                  "choose another target",
                  target.path));
}

verbs::Arguments CommandOf(const BackupPlan& plan) {
  verbs::Arguments command;
  if (plan.hold) command.Set("then", "hold");
  if (!plan.overlay.empty()) command.Set("overlay", plan.overlay);
  if (!plan.target) return command;
  command.Set("target", plan.target->place.location.path);
  command.Set("format", plan.target->format.name());
  command.Set("sync", BackupSyncName(plan.sync));
  if (plan.sync == BackupSync::kSince) command.Set("since", plan.backing->path);
  if (plan.target->compression) {
    command.Set("compress", CompressionName(*plan.target->compression));
  }
  if (plan.target->format != ImageFormat::kRaw) {
    command.Set("cluster_size", std::to_string(uint64_t{1} << plan.target->cluster_bits))
        .Set("extended_l2", plan.target->subclusters ? "yes" : "no");
  }
  return command;
}

// At its end the uppermost layer takes in what guests wrote meanwhile, so nobody else may rely on
// it. Which layers are selected is told by their places, so those stay, too.
LayerClaims ClaimsOf(const BackupPlan& plan) {
  LayerClaims claims{.reads = {}, .fills = {}, .writes = {plan.point.front()}, .drops = {}};
  for (size_t i = 1; i < plan.point.size(); ++i) {
    const bool fixed = plan.sync != BackupSync::kFull && i <= plan.selected;
    (fixed ? claims.fills : claims.reads).push_back(plan.point[i]);
  }
  return claims;
}

}  // namespace chainfs::jobs
