// SPDX-License-Identifier: Apache-2.0
#include "fusefs/inodes.h"

#include <algorithm>

namespace chainfs::fusefs {
namespace {

constexpr uint64_t kControlInode = 2;
constexpr uint64_t kEventsInode = 3;
constexpr uint64_t kChainsInode = 4;
constexpr uint64_t kJobsInode = 5;
constexpr uint64_t kMetricsInode = 6;
constexpr uint64_t kLayersInode = 8;
constexpr uint64_t kFirstDiskInode = 16;

NodePtr MakeFixed(uint64_t ino, NodeKind kind, std::string name) {
  return std::make_shared<Node>(ino, ino, kind, std::move(name), nullptr);
}

NodeKind DirectoryOfKind(NodeKind kind) {
  if (kind == NodeKind::kMap) return NodeKind::kMapDirectory;
  return kind == NodeKind::kChanged ? NodeKind::kChangedDirectory : NodeKind::kRoot;
}

// FNV-1a, well mixed. Not to be changed: numbers are compared over years (backups, rsync).
uint64_t NumberOfName(NodeKind kind, std::string_view name, uint64_t attempt) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto take = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const char letter : name) take(static_cast<unsigned char>(letter));
  take(kind == NodeKind::kMap ? 1 : kind == NodeKind::kChanged ? 2 : 0);
  for (; attempt > 0; attempt >>= 8) take(static_cast<unsigned char>(attempt));
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash ^= hash >> 33;
  return hash >> 1;  // also where numbers are signed
}

}  // namespace

bool IsDirectory(NodeKind kind) {
  return kind == NodeKind::kRoot || kind == NodeKind::kControlDirectory ||
         kind == NodeKind::kMapDirectory || kind == NodeKind::kChangedDirectory;
}

InodeTable::InodeTable()
    : root_(MakeFixed(kRootInode, NodeKind::kRoot, "")), next_(kFirstDiskInode) {
  fixed_ = {
      MakeFixed(kChangedInode, NodeKind::kChangedDirectory, "changed"),
      MakeFixed(kChainsInode, NodeKind::kChains, "chains.json"),
      MakeFixed(kEventsInode, NodeKind::kEvents, "events"),
      MakeFixed(kJobsInode, NodeKind::kJobs, "jobs.json"),
      MakeFixed(kLayersInode, NodeKind::kLayers, "layers.json"),
      MakeFixed(kMapInode, NodeKind::kMapDirectory, "map"),
      MakeFixed(kMetricsInode, NodeKind::kMetrics, "metrics"),
  };
  const NodePtr control =
      MakeFixed(kControlInode, NodeKind::kControlDirectory, std::string(kControlDirectoryName));
  const MutexLock lock(mu_);
  by_number_[kRootInode].node = root_;
  by_number_[kControlInode].node = control;
  for (const NodePtr& node : fixed_) by_number_[node->ino].node = node;
  names_ = {
      {NodeKind::kRoot, {}}, {NodeKind::kMapDirectory, {}}, {NodeKind::kChangedDirectory, {}}};
}

NodePtr InodeTable::Find(uint64_t ino) const {
  const MutexLock lock(mu_);
  const auto found = by_number_.find(ino);
  return found == by_number_.end() ? nullptr : found->second.node;
}

NodePtr InodeTable::FindByName(NodeKind directory, std::string_view name) const {
  const MutexLock lock(mu_);
  if (directory == NodeKind::kRoot && name == kControlDirectoryName) {
    return by_number_.at(kControlInode).node;
  }
  if (directory == NodeKind::kControlDirectory) {
    const auto found = std::ranges::find(fixed_, name, [](const NodePtr& n) { return n->name; });
    return found == fixed_.end() ? nullptr : *found;
  }
  const Names& names = NamesOf(directory);
  const auto found = names.find(name);
  return found == names.end() ? nullptr : found->second;
}

NodePtr InodeTable::FindDisk(const Disk& disk) const {
  const MutexLock lock(mu_);
  const Names& disks = NamesOf(NodeKind::kRoot);
  const auto found = disks.find(disk.name() + ".raw");
  return found != disks.end() && found->second->disk.get() == &disk ? found->second : nullptr;
}

std::vector<NodePtr> InodeTable::List(NodeKind directory) const {
  if (directory == NodeKind::kControlDirectory) return fixed_;
  const MutexLock lock(mu_);
  std::vector<NodePtr> nodes;
  for (const auto& [name, node] : NamesOf(directory)) nodes.push_back(node);
  return nodes;
}

bool InodeTable::Remember(const Node& node) {
  const MutexLock lock(mu_);
  const auto found = by_number_.find(node.ino);
  if (found == by_number_.end()) return false;
  ++found->second.lookups;
  return found->second.linked;
}

void InodeTable::Forget(uint64_t ino, uint64_t count) {
  NodePtr last;  // destroyed, with its disk, after the lock is gone
  const MutexLock lock(mu_);
  const auto found = by_number_.find(ino);
  if (found == by_number_.end()) return;
  last = found->second.node;
  found->second.lookups -= std::min(count, found->second.lookups);
  DropIfUnused(ino);
}

InodeTable::NameChange InodeTable::Add(const control::ServedDiskPtr& served) {
  NameChange change;
  std::vector<NodePtr> replaced;  // destroyed after the lock is gone
  const MutexLock lock(mu_);
  const std::string& name = served->disk->name();
  const Names& disks = NamesOf(NodeKind::kRoot);
  if (const auto found = disks.find(name + ".raw"); found != disks.end()) {
    if (found->second->disk == served->disk) return change;
    change = UnlinkAll(name, replaced);
  }
  Link(NodeKind::kDisk, name + ".raw", served);
  Link(NodeKind::kMap, name + ".json", served);
  Link(NodeKind::kChanged, name + ".json", served);
  change.changed = true;
  return change;
}

InodeTable::NameChange InodeTable::Remove(const Disk& disk) {
  std::vector<NodePtr> removed;  // destroyed after the lock is gone
  const MutexLock lock(mu_);
  const Names& disks = NamesOf(NodeKind::kRoot);
  const auto found = disks.find(disk.name() + ".raw");
  if (found == disks.end() || found->second->disk.get() != &disk) return {};
  return UnlinkAll(disk.name(), removed);
}

InodeTable::NameChange InodeTable::UnlinkAll(const std::string& name,
                                             std::vector<NodePtr>& unlinked) {
  const std::string list = name + ".json";
  unlinked = {NamesOf(NodeKind::kRoot).at(name + ".raw"), NamesOf(NodeKind::kMapDirectory).at(list),
              NamesOf(NodeKind::kChangedDirectory).at(list)};
  NameChange change;
  change.disk_known = Unlink(unlinked[0]);
  change.map_known = Unlink(unlinked[1]);
  change.changed_known = Unlink(unlinked[2]);
  change.changed = true;
  return change;
}

NodePtr InodeTable::AddUnlisted(NodeKind kind, std::string name,
                                const control::ServedDiskPtr& served) {
  const MutexLock lock(mu_);
  NodePtr node = MakeNode(kind, std::move(name), served);
  by_number_.at(node->ino).linked = false;
  return node;
}

size_t InodeTable::SizeForTesting() const {
  const MutexLock lock(mu_);
  return by_number_.size();
}

NodePtr InodeTable::MakeNode(NodeKind kind, std::string name,
                             const control::ServedDiskPtr& served) {
  const uint64_t shown = TakeShownNumber(kind, name);
  auto node = std::make_shared<Node>(next_++, shown, kind, std::move(name), served);
  by_number_[node->ino].node = node;
  return node;
}

void InodeTable::Link(NodeKind kind, std::string name, const control::ServedDiskPtr& served) {
  const NodePtr node = MakeNode(kind, std::move(name), served);
  names_[DirectoryOfKind(kind)][node->name] = node;
}

uint64_t InodeTable::TakeShownNumber(NodeKind kind, std::string_view name) {
  for (uint64_t attempt = 0;; ++attempt) {
    const uint64_t number = NumberOfName(kind, name, attempt);
    // Taken by one of that name that somebody still has open; or two names give the same.
    if (number >= kFirstDiskInode && shown_.insert(number).second) return number;
  }
}

bool InodeTable::Unlink(const NodePtr& node) {
  names_[DirectoryOfKind(node->kind)].erase(node->name);
  Entry& entry = by_number_.at(node->ino);
  entry.linked = false;
  const bool known = entry.lookups > 0;
  DropIfUnused(node->ino);
  return known;
}

void InodeTable::DropIfUnused(uint64_t ino) {
  const auto found = by_number_.find(ino);
  if (found->second.linked || found->second.lookups > 0) return;
  shown_.erase(found->second.node->shown_ino);
  by_number_.erase(found);
}

}  // namespace chainfs::fusefs
