// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/node_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace chainfs::qmp {
namespace {

constexpr size_t kMaxNodeName = 31;
constexpr size_t kMaxTargets = 1024;

// As QEMU has it for node names and ids that users give.
bool IsWellFormed(std::string_view name) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto may_follow = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  };
  return !name.empty() && name.size() <= kMaxNodeName && is_letter(name[0]) &&
         std::ranges::all_of(name, may_follow);
}

std::unexpected<QmpError> NotFound(std::string_view device, std::string_view node) {
  return Refuse(fmt::format("Cannot find device='{}' nor node-name='{}'", device, node));
}

NamedNode ActiveOf(const DiskPtr& disk) {
  const ChainPtr chain = disk->chain();
  return {.disk = disk, .layer = chain->active, .active = true, .generation = chain->generation};
}

bool Contains(const Chain& chain, const LayerPtr& layer) {
  const Layers layers = chain.AllLayers();
  return std::ranges::find(layers, layer) != layers.end();
}

}  // namespace

void NodeTable::LookAgain() {
  std::vector<std::pair<std::string, LayerPtr>> active;
  for (const DiskPtr& disk : catalog_.Disks()) {
    active.emplace_back(disk->name(), disk->chain()->active);
  }
  const MutexLock lock(mu_);
  std::erase_if(layers_, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(names_, [](const auto& entry) { return entry.first.expired(); });
  for (const auto& [name, layer] : active) {
    // A disk that has gone on with a target has its node, too.
    const auto target = std::ranges::find_if(
        targets_, [&](const auto& entry) { return entry.second.path == layer->path; });
    if (target != targets_.end() && !names_.contains(layer)) {
      const std::string taken = target->first;
      targets_.erase(target);
      Give(taken, layer);
    }
    Give(name, layer);
  }
}

bool NodeTable::IsTaken(std::string_view name) const {
  return targets_.contains(name) || layers_.contains(name);
}

void NodeTable::Give(std::string_view name, const LayerPtr& layer) {
  if (names_.contains(layer) || IsTaken(name)) return;
  layers_.emplace(name, layer);
  names_.emplace(layer, name);
}

LayerPtr NodeTable::FindLayer(std::string_view name) const {
  const MutexLock lock(mu_);
  const auto found = layers_.find(name);
  return found == layers_.end() ? nullptr : found->second.lock();
}

std::optional<NamedNode> NodeTable::Node(std::string_view name) {
  LookAgain();
  const LayerPtr layer = FindLayer(name);
  if (layer == nullptr) return std::nullopt;
  // A layer on which others are built is a read-only disk of its own, too, which QEMU has not; what
  // counts is the longest chain that it is in.
  std::optional<NamedNode> found;
  size_t depth = 0;
  for (const DiskPtr& disk : catalog_.Disks()) {
    const ChainPtr chain = disk->chain();
    if (chain->depth() <= depth || !Contains(*chain, layer)) continue;
    depth = chain->depth();
    found = NamedNode{.disk = disk,
                      .layer = layer,
                      .active = chain->active == layer,
                      .generation = chain->generation};
  }
  return found;
}

std::expected<NamedNode, QmpError> NodeTable::Device(std::string_view name) {
  LookAgain();
  if (const DiskPtr disk = catalog_.Find(name)) return ActiveOf(disk);
  if (std::optional<NamedNode> node = Node(name)) return *std::move(node);
  return NotFound(name, name);
}

std::expected<NamedNode, QmpError> NodeTable::DeviceOrNode(const std::optional<std::string>& device,
                                                           const std::optional<std::string>& node) {
  LookAgain();
  if (device) {
    if (const DiskPtr disk = catalog_.Find(*device)) return ActiveOf(disk);
  }
  if (node) {
    if (std::optional<NamedNode> named = Node(*node)) return *std::move(named);
  }
  return NotFound(device.value_or(""), node.value_or(""));
}

std::expected<LayerPtr, QmpError> NodeTable::LayerOf(const Disk& disk, std::string_view node) {
  LookAgain();
  LayerPtr layer = FindLayer(node);
  if (layer == nullptr) return NotFound("", node);
  if (Contains(*disk.chain(), layer)) return layer;
  return Refuse(fmt::format("Node '{}' is not in the chain of '{}'", node, disk.name()));
}

QmpStatus NodeTable::CheckNewName(std::string_view name) {
  if (!IsWellFormed(name)) return Refuse(fmt::format("Invalid node-name: '{}'", name));
  LookAgain();
  const DiskPtr disk = catalog_.Find(name);
  const MutexLock lock(mu_);
  if (disk == nullptr && !IsTaken(name)) return {};
  return Refuse(fmt::format("Duplicate nodes with node-name='{}'", name));
}

void NodeTable::NameLayer(const LayerPtr& layer, std::string_view name) {
  const MutexLock lock(mu_);
  if (IsTaken(name)) return;
  if (const auto found = names_.find(layer); found != names_.end()) {
    layers_.erase(found->second);
    names_.erase(found);
  }
  Give(name, layer);
}

std::string NodeTable::NameOf(const LayerPtr& layer) {
  {
    const MutexLock lock(mu_);
    if (const auto found = names_.find(layer); found != names_.end()) return found->second;
  }
  LookAgain();
  const MutexLock lock(mu_);
  if (!names_.contains(layer)) Give(fmt::format("#block{:03}", next_number_++), layer);
  return names_.find(layer)->second;
}

QmpStatus NodeTable::AddTarget(std::string_view name, TargetNode target) {
  if (const QmpStatus legal = CheckNewName(name); !legal) return legal;
  const MutexLock lock(mu_);
  if (targets_.size() >= kMaxTargets) {
    return Refuse(fmt::format("{} nodes were added; remove some with blockdev-del", kMaxTargets));
  }
  targets_.emplace(name, std::move(target));
  return {};
}

QmpStatus NodeTable::RemoveTarget(std::string_view name) {
  const bool is_layer = FindLayer(name) != nullptr;
  const MutexLock lock(mu_);
  const auto found = targets_.find(name);
  if (found != targets_.end()) {
    targets_.erase(found);
    return {};
  }
  if (is_layer) return Refuse(fmt::format("Node {} is in use", name));
  return Refuse(fmt::format("Failed to find node with node-name='{}'", name));
}

std::expected<TargetNode, QmpError> NodeTable::Target(std::string_view name) const {
  const MutexLock lock(mu_);
  const auto found = targets_.find(name);
  if (found != targets_.end()) return found->second;
  return NotFound(name, name);
}

std::vector<std::pair<std::string, TargetNode>> NodeTable::Targets() const {
  const MutexLock lock(mu_);
  return {targets_.begin(), targets_.end()};
}

}  // namespace chainfs::qmp
