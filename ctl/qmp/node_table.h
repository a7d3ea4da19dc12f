// SPDX-License-Identifier: Apache-2.0
//
// NodeTable: QEMU's node names. A node is a layer of a chain, or a file that blockdev-add has named
// to be a target. Names live as long as the daemon; a layer's goes when the layer does.
//
// A layer is called as blockdev-snapshot-sync said; else as the disk whose active layer it was when
// it was first seen here; else "#blockN". Names of devices are those of disks, and lead to what is
// active now.
//
// Invariants: QMP-5, QMP-6 (README.md).
//
// Threads: all methods, any thread. mu_ is a leaf.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog.h"
#include "ctl/qmp/qmp_error.h"

namespace chainfs::qmp {

// What a name means for a command.
struct NamedNode {
  DiskPtr disk;
  LayerPtr layer;  // of its chain
  bool active = false;
  uint64_t generation = 0;  // of the chain that was looked at
};

// What blockdev-add has named.
struct TargetNode {
  std::string format;  // "qcow2", "raw"
  std::string path;
};

class NodeTable {
 public:
  // `catalog` outlives this.
  explicit NodeTable(const Catalog& catalog) : catalog_(catalog) {}

  // Gives names to the active layers that have none, and forgets those of layers that are gone. The
  // other methods do so where it matters.
  void LookAgain() EXCLUDES(mu_);

  // What `device` means: a disk, else a node.
  std::expected<NamedNode, QmpError> Device(std::string_view name) EXCLUDES(mu_);
  // What the pair of parameters `device` and `node-name` means, of which one is given.
  std::expected<NamedNode, QmpError> DeviceOrNode(const std::optional<std::string>& device,
                                                  const std::optional<std::string>& node)
      EXCLUDES(mu_);
  // The layer of that name in the chain of `disk`.
  std::expected<LayerPtr, QmpError> LayerOf(const Disk& disk, std::string_view node) EXCLUDES(mu_);

  // Whether a new node may be called so.
  QmpStatus CheckNewName(std::string_view name) EXCLUDES(mu_);
  // In place of the name that it had, once CheckNewName has permitted it; one that was taken
  // meanwhile is not given.
  void NameLayer(const LayerPtr& layer, std::string_view name) EXCLUDES(mu_);
  // Of a layer; given to it now if it has none.
  std::string NameOf(const LayerPtr& layer) EXCLUDES(mu_);

  QmpStatus AddTarget(std::string_view name, TargetNode target) EXCLUDES(mu_);
  QmpStatus RemoveTarget(std::string_view name) EXCLUDES(mu_);
  std::expected<TargetNode, QmpError> Target(std::string_view name) const EXCLUDES(mu_);
  std::vector<std::pair<std::string, TargetNode>> Targets() const EXCLUDES(mu_);

 private:
  bool IsTaken(std::string_view name) const REQUIRES(mu_);
  // A name that `layer` has not and nobody else; nothing happens otherwise.
  void Give(std::string_view name, const LayerPtr& layer) REQUIRES(mu_);
  LayerPtr FindLayer(std::string_view name) const EXCLUDES(mu_);
  std::optional<NamedNode> Node(std::string_view name) EXCLUDES(mu_);

  const Catalog& catalog_;
  mutable Mutex mu_;
  // No layer is locked by these, and none dies under mu_.
  std::map<std::string, std::weak_ptr<Layer>, std::less<>> layers_ GUARDED_BY(mu_);
  std::map<std::weak_ptr<Layer>, std::string, std::owner_less<>> names_ GUARDED_BY(mu_);
  std::map<std::string, TargetNode, std::less<>> targets_ GUARDED_BY(mu_);
  uint64_t next_number_ GUARDED_BY(mu_) = 1;
};

}  // namespace chainfs::qmp
