// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_disks.h"

#include <set>

#include "blocklayer/catalog/catalog_observer.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_names.h"

namespace chainfs {
namespace {

// The list of an image's disk, with one of its snapshots in its place.
Layers OverSameBacking(const LayerPtr& snapshot, const Layers& image) {
  Layers layers{snapshot};
  layers.insert(layers.end(), image.begin() + 1, image.end());
  return layers;
}

}  // namespace

Result<DiskPtr> SnapshotDisks::Open(const std::string& name, const Layers& layers, size_t index) {
  const LayerPtr& image = layers.front();
  const LayerPtr snapshot = std::make_shared<Layer>();
  snapshot->path = image->path;
  snapshot->name = image->name;
  snapshot->directory = image->directory;
  snapshot->id = image->id;
  snapshot->owner_id = context_->metadata().NewOwner();
  snapshot->snapshot_of = image;
  CHAINFS_ASSIGN(snapshot->image, image->image->OpenSnapshot(index, snapshot->owner_id));
  CHAINFS_ASSIGN(std::unique_ptr<Disk> opened,
                 Disk::Open(name, OverSameBacking(snapshot, layers), *context_));
  DiskPtr disk(opened.release(), [context = context_](Disk* gone) { delete gone; });
  disk->access().SetReason("it is an internal snapshot");
  disk->errors().SetObserver(
      [&events = events_](const Disk& failed, std::string_view operation, const Error& error) {
        CatalogObserver* const observer = events.observer();
        if (observer != nullptr) observer->DiskError(failed, operation, error);
      });
  return disk;
}

void SnapshotDisks::Collect(const CatalogEntry& entry, const std::vector<std::string>& names,
                            Disks& now, Shown& shown) {
  const Layers layers = entry.disk->chain()->AllLayers();
  for (size_t index = 0; index < names.size(); ++index) {
    if (names[index].empty()) continue;
    const Key key(layers.front().get(), index);
    const auto before = disks_.find(key);
    DiskPtr disk;
    if (before != disks_.end() && before->second->name() == names[index]) {
      disk = before->second;
      const Layers list = disk->chain()->AllLayers();
      Layers wanted = OverSameBacking(list.front(), layers);
      // If it fails, the old list goes on showing the same.
      if (list != wanted) (void)disk->ReplaceLayers(std::move(wanted)).has_value();
    } else if (Result<DiskPtr> opened = Open(names[index], layers, index)) {
      disk = *std::move(opened);
    } else {
      shown.broken.push_back({.name = EscapeText(names[index]),
                              .path = EscapeText(entry.candidate.path),
                              .error = std::move(opened).error()});
      continue;
    }
    now.emplace(key, disk);
    shown.disks.push_back(std::move(disk));
  }
}

SnapshotDisks::Shown SnapshotDisks::Update(const CatalogEntries& entries) {
  Shown shown;
  Disks now;
  std::set<std::string> taken;
  for (const auto& [path, entry] : entries) {
    const bool has_any =
        entry.disk != nullptr && !entry.disk->chain()->active->image->snapshots().empty();
    if (!has_any) continue;
    if (taken.empty()) {
      for (const auto& [other_path, other] : entries) taken.insert(other.name);
    }
    const std::vector<std::string> names =
        NameSnapshotDisks(entry.name, entry.disk->chain()->active->image->snapshots(),
                          [&](const std::string& name) { return taken.contains(name); });
    taken.insert(names.begin(), names.end());
    Collect(entry, names, now, shown);
  }
  disks_ = std::move(now);
  return shown;
}

}  // namespace chainfs
