// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_set.h"

#include <fmt/format.h>
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

CatalogEntry* ChainSet::EntryOf(const Disk* disk) {
  for (auto& [path, entry] : entries_) {
    if (disk != nullptr && entry.disk.get() == disk) return &entry;
  }
  return nullptr;
}

Status ChainSet::Move(CatalogEntry& entry, Candidate to) {
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

CatalogEntry& ChainSet::TakePlace(CatalogEntry& entry, const std::set<FileId>& replaced,
                                  Candidate to, const FileId& id) {
  for (auto other = entries_.begin(); other != entries_.end();) {
    if (&other->second == &entry || !replaced.contains(other->second.id())) {
      ++other;
      continue;
    }
    Retire(other->second, true);
    other = entries_.erase(other);
  }
  const std::string path = to.path;
  if (!Move(entry, std::move(to))) std::abort();
  CatalogEntry& moved = entries_.at(path);
  moved.stat = FileStat{.id = id};
  moved.hint.clear();
  return moved;
}

void ChainSet::Retire(CatalogEntry& entry, bool outdated) {
  if (entry.disk == nullptr) return;
  // Whoever has it open keeps it; nobody else may start to write.
  (void)entry.disk->StopWriting();
  entry.disk->access().SetReason("its image was renamed, removed or replaced");
  ghosts_.push_back({.disk = entry.disk, .outdated = outdated});
  events_.Add(
      [disk = std::move(entry.disk)](CatalogObserver& observer) { observer.DiskRemoved(disk); });
  entry.disk = nullptr;
}

std::vector<DiskPtr> ChainSet::DropLayersBetween(const LayerPtr& top, const LayerPtr& base) {
  const auto shorten = [&](Disk& disk) {
    const Layers layers = disk.chain()->AllLayers();
    const auto top_at = std::ranges::find(layers, top);
    if (top_at == layers.end()) return false;
    const auto base_at = base == nullptr ? layers.end() : std::find(top_at + 1, layers.end(), base);
    // Without `base` in it this is another chain; and next to each other there is nothing to drop.
    if ((base != nullptr && base_at == layers.end()) || base_at == top_at + 1) return false;
    Layers shorter(layers.begin(), top_at + 1);
    shorter.insert(shorter.end(), base_at, layers.end());
    // If it fails, the longer list goes on showing the same.
    return disk.ReplaceLayers(std::move(shorter)).has_value();
  };
  std::vector<DiskPtr> shortened;
  for (auto& [path, entry] : entries_) {
    if (entry.disk != nullptr && shorten(*entry.disk)) shortened.push_back(entry.disk);
  }
  for (const DiskPtr& disk : Ghosts()) (void)shorten(*disk);
  return shortened;
}

void ChainSet::ShowSnapshots(std::vector<DiskPtr> disks) {
  const std::set<DiskPtr> before(snapshots_.begin(), snapshots_.end());
  const std::set<DiskPtr> now(disks.begin(), disks.end());
  for (const DiskPtr& disk : snapshots_) {
    if (now.contains(disk)) continue;
    ghosts_.push_back({.disk = disk, .outdated = false});
    events_.Add([disk](CatalogObserver& observer) { observer.DiskRemoved(disk); });
  }
  for (const DiskPtr& disk : disks) {
    if (before.contains(disk)) continue;
    events_.Add([disk](CatalogObserver& observer) { observer.DiskAdded(disk); });
  }
  snapshots_ = std::move(disks);
}

std::vector<DiskPtr> ChainSet::Ghosts() const {
  std::vector<DiskPtr> disks = snapshots_;
  for (const Ghost& ghost : ghosts_) {
    if (ghost.outdated) continue;
    if (DiskPtr disk = ghost.disk.lock()) disks.push_back(std::move(disk));
  }
  return disks;
}

void ChainSet::ForgetGhosts() {
  std::erase_if(ghosts_, [](const Ghost& ghost) { return ghost.disk.expired(); });
}

}  // namespace chainfs
