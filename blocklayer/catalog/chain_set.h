// SPDX-License-Identifier: Apache-2.0
//
// ChainSet: the chains in view, by the path of their active layer, and those that left the view
// while somebody had them open.
//
// Terms: a *ghost* is a disk that is not in view any more, but that somebody still has open.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/event_queue.h"

namespace chainfs {

class ChainSet {
 public:
  // `events` outlives this.
  explicit ChainSet(EventQueue& events) : events_(events) {}

  CatalogEntries& entries() { return entries_; }
  const CatalogEntries& entries() const { return entries_; }
  // Null when the disk is not in view (any more).
  CatalogEntry* EntryOf(const Disk* disk);
  // Gives the entry another path; kExists, and nothing has changed, when that is somebody's.
  Status Move(CatalogEntry& entry, Candidate to);
  // The entry takes the path of `to`, the file `id`; the entries of the files `replaced`, `id`
  // among them, leave the view. The entry as it is now. Whoever has that path must be one of these.
  CatalogEntry& TakePlace(CatalogEntry& entry, const std::set<FileId>& replaced, Candidate to,
                          const FileId& id);
  // The disk of the entry, if it has one, leaves the view. `outdated`: what it is built on is not
  // what it was made for any more, and it keeps nobody from writing that.
  void Retire(CatalogEntry& entry, bool outdated = false);
  // Publishes a list of layers without those between `top` and `base` (null: nothing is below
  // `top`) to every disk whose chain contains both, ghosts, too. The disks in view that changed.
  std::vector<DiskPtr> DropLayersBetween(const LayerPtr& top, const LayerPtr& base);

  // The disks of internal snapshots in view. One that leaves the view while it is open is a ghost.
  void ShowSnapshots(std::vector<DiskPtr> disks);

  // Those that are not outdated, and the disks of internal snapshots: whatever must not lose what
  // it is built on, and is no entry.
  std::vector<DiskPtr> Ghosts() const;
  size_t ghosts() const { return ghosts_.size(); }
  // Lets go of ghosts that nobody has open.
  void ForgetGhosts();

  // Files that are there, but count as built on nothing: what reverts dropped, and what chains have
  // left that went on with a layer beneath.
  const std::set<FileId>& condemned() const { return condemned_; }
  void SetCondemned(std::set<FileId> condemned) { condemned_ = std::move(condemned); }

 private:
  struct Ghost {
    std::weak_ptr<Disk> disk;
    bool outdated = false;
  };

  EventQueue& events_;
  CatalogEntries entries_;
  std::vector<Ghost> ghosts_;
  std::vector<DiskPtr> snapshots_;
  std::set<FileId> condemned_;
};

}  // namespace chainfs
