// SPDX-License-Identifier: Apache-2.0
//
// SnapshotDisks: each internal snapshot of an image that is shown, as a read-only disk of its own:
// the snapshot as the top layer, over what the image is built on. It uses the image's own file, and
// so its locks; it shares the index of what lies below with the disk of the image.
//
// A disk stays the same object while it has the same name and its image is open.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/event_queue.h"
#include "blocklayer/chain/block_context.h"

namespace chainfs {

class SnapshotDisks {
 public:
  struct Shown {
    std::vector<DiskPtr> disks;
    std::vector<BrokenImage> broken;  // snapshots that cannot be shown, and why
  };

  // `events` outlives this; disks keep `context` alive.
  SnapshotDisks(std::shared_ptr<BlockContext> context, EventQueue& events)
      : context_(std::move(context)), events_(events) {}

  // Those of all entries with a disk.
  Shown Update(const CatalogEntries& entries);
  // Lets go of all of them.
  void Clear() { disks_.clear(); }

 private:
  // The image, which its snapshot's disk keeps alive, and the number of the snapshot.
  using Key = std::pair<const Layer*, size_t>;
  using Disks = std::map<Key, DiskPtr>;

  // Finds or makes those of one image, named so.
  void Collect(const CatalogEntry& entry, const std::vector<std::string>& names, Disks& now,
               Shown& shown);
  Result<DiskPtr> Open(const std::string& name, const Layers& layers, size_t index);

  const std::shared_ptr<BlockContext> context_;
  EventQueue& events_;
  Disks disks_;
};

}  // namespace chainfs
