// SPDX-License-Identifier: Apache-2.0
//
// Catalog: which chains there are and what they are called. It scans the sources, opens every image
// with its backing files (never probing, never outside the permitted directories), holds the image
// locks, decides what is read-only, and keeps the durable record of which layer of a moved chain is
// active (SOURCE/.chainfs/, see README.md).
//
// Rules: one disk an image in view. Format of a top image from its extension (.qcow2; .raw and .img
// are raw) or given; of a backing image from the header's format extension or
// assume_backing_format. Name: the file name without its image extension; on a collision the full
// file name. An image that another image in view backs is read-only (once nobody has it open for
// writing). A bad image is listed with its error; the others work.
//
// Disks and layers may be let go of after the catalog, but not used any more.
//
// Threads: all methods, any thread. One lock serializes scans and changes of chains, and is held
// across their I/O; what ShownLists says never waits for it. A scan lets whoever changes a chain go
// first before each image that it opens; what takes longer, checking an image with the dirty bit,
// is left to threads of the catalog's own (BackgroundRepairs), which have the sources looked at
// again when they are done.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog_observer.h"
#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/catalog/chain_moves.h"
#include "blocklayer/catalog/layer_leases.h"
#include "blocklayer/catalog/new_image.h"
#include "blocklayer/catalog/rebases.h"
#include "blocklayer/catalog/record_store.h"
#include "blocklayer/catalog/shown_lists.h"
#include "blocklayer/catalog/user_files.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

struct CatalogParts;

class Catalog final : public ShownLists {
 public:
  // Scans once. Fails only when a source itself cannot be used; bad images are in Broken().
  static Result<std::unique_ptr<Catalog>> Open(const std::vector<SourceSpec>& sources,
                                               CatalogOptions options);
  ~Catalog();

  // At most one, set before anything changes; null: nobody. On return the one before is not being
  // told of a change any more, unless it calls this itself.
  void SetObserver(CatalogObserver* observer);
  // `call` is called when a Rescan would find something that no file tells (wake_up.h).
  void SetWakeUp(std::function<void()> call);
  // Looks at the sources again; new images appear, vanished ones go (open handles keep working).
  Status Rescan();
  // Absolute paths of the directories whose changes call for a Rescan (for inotify).
  std::vector<std::string> WatchedDirectories() const;

  // What the process serves itself, by the device of its file system, is no place for an image from
  // now on: it would wait for itself.
  void KeepOff(dev_t served);

  const CatalogOptions& options() const;
  BlockContext& context();

  // A live snapshot: creates the overlay durably, switches the disk to it, records it. The layer
  // that is active afterwards.
  Result<LayerPtr> Snapshot(const DiskPtr& disk, const SnapshotRequest& request);
  // What the above would do, without doing it: the target's absolute path.
  Result<std::string> PlanSnapshot(const DiskPtr& disk, const SnapshotRequest& request);

  // The layer of `disk` called `name`: a path as `chain` shows it, or a file name that is unique
  // within the chain. kNotFound otherwise.
  Result<LayerPtr> FindLayer(const Disk& disk, std::string_view name) const;
  // For a job that writes to a layer below the active one.
  LayerLeases& leases() { return leases_; }
  // For a job that changes which layers the chain of a disk has.
  ChainMoves& moves() { return moves_; }
  // For a job that makes an image.
  NewImages& new_images() { return new_images_; }
  // For a command that names a file which is no image.
  UserFiles& user_files() { return user_files_; }
  // For a job that has a layer stand on another image.
  Rebases& rebases() { return rebases_; }
  // How the header of `overlay`, a layer of `disk`, should name `backing`, one below it: in the
  // words of this chain's own headers, relative where the tree allows it. A later reader will find
  // that file by it; kStale when no such name is known (renamed or replaced meanwhile).
  Result<BackingReference> ReferenceTo(const Disk& disk, const Layer& overlay,
                                       const Layer& backing);
  // After the header of `top` names `base` (null: nothing) as its backing: publishes the shorter
  // list to every disk whose chain contains `top`, and lets go of layers that nobody uses.
  void DropLayersBetween(const LayerPtr& top, const LayerPtr& base);

  // Every image in view and every layer below one. Waits for changes of chains under way.
  std::vector<LayerReport> LayersReport();
  // Of the layers that a stream is to leave out beneath `top`, or has left out: paths of those that
  // nobody will need then, top first.
  std::vector<std::string> Unneeded(const Layer& top, const Layers& left_out);
  // Before the header of `top` says so: none of `layers` turns up as a disk that can be written,
  // until AllowWriting or until the user names it as a source. Durable on return. kStale when the
  // file of `top` was removed.
  Status MarkLeftOut(const Disk& disk, const Layer& top, const Layers& layers);
  // After DropLayersBetween: removes what nobody needs any more, from the top down. Never a file
  // outside the source directories unless `anywhere`.
  LeftOutLayers RemoveUnneeded(const Layer& top, const Layers& left_out, bool anywhere);
  // A disk that is read-only because a stream left it out may be written again. kInvalidArgument
  // for any other.
  Status AllowWriting(const DiskPtr& disk);
  // The disk goes back to `to`, a layer below its active one; the newer ones are removed. What it
  // removed, or (`dry_run`) would. kBusy while the disk is open for writing, or when anything else
  // needs one of them. Never a file outside the source directories unless `anywhere`.
  Result<LeftOutLayers> Revert(const DiskPtr& disk, const Layer& to, bool anywhere, bool dry_run);

  // The disk gets another size; what lies beyond a smaller one may hold data only with `cut_data`.
  // As Disk::Grow and Disk::Shrink.
  Status Resize(const DiskPtr& disk, const ResizeRequest& request);

  // Records kept beside the images.
  RecordStore& records() { return records_; }

  // How many things are remembered that may be gone by now; for tests.
  size_t Remembered();

  // The end is near: scans end early, and other daemons that want the images may wait for them.
  void AnnounceEnd();
  // Flushes and cleanly closes every image. Nothing may be used afterwards.
  Status Close();

 private:
  explicit Catalog(CatalogOptions options);

  const std::unique_ptr<CatalogParts> parts_;
  // Of the parts.
  RecordStore& records_;
  LayerLeases& leases_;
  NewImages& new_images_;
  UserFiles& user_files_;
  ChainMoves moves_;
  Rebases rebases_;
};

}  // namespace chainfs
