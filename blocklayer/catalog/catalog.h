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
// Threads: all methods, any thread. mu_ serializes scans and changes of chains, and is held across
// their I/O; Find, Disks, Broken and Notes take only list_mu_, never held across I/O. A scan lets
// whoever changes a chain go first before each image that it opens; what takes longer, checking an
// image with the dirty bit, is left to threads of the catalog's own (BackgroundRepairs), which have
// the sources looked at again when they are done.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/chain/disk.h"

namespace chainfs {

struct SourceSpec {
  std::string path;                        // a directory, or an image
  std::optional<std::string> name = {};    // image only: the chain's name
  std::optional<ImageFormat> format = {};  // image only
};

struct CatalogOptions {
  bool read_only = false;                                 // nothing is ever written, to any file
  std::vector<std::string> backing_dirs = {};             // further permitted directories
  std::optional<ImageFormat> assume_backing_format = {};  // for headers that name none
  uint32_t max_depth = 1024;                              // layers
  MemoryLimits memory = {};
  // Where this host keeps the names that were shown (shown_names.h); empty: nowhere.
  std::string state_directory = {};
  // How directories are opened; null: OpenPosixDirectory. A seam for tests.
  std::function<Result<std::unique_ptr<Directory>>(const std::string& path)> open_directory = {};
};

struct BrokenImage {
  std::string name;  // as its chain would be called
  std::string path;
  Error error;
  // The file that is being checked after an unclean end: the disk appears by itself.
  std::optional<FileId> being_checked = {};
  // Set where the error is kBusy and not that: who holds locks on its files, as far as they tell.
  std::optional<ImageHolder> held_by = {};
  bool named_by_user = false;  // a source of its own, not an image of a directory
  bool tried_again = false;    // from time to time, because the reason may pass
};

// Something that people should know of a disk that works.
struct ImageNote {
  std::string name;      // the disk's; empty: of all of them
  std::string text;      // one sentence: why it is read-only, that it begins like qcow2...
  bool warning = false;  // somebody should do something about it
  bool lost = false;     // a layer of the disk is not where it was opened any more
};

// How to make a new active layer.
struct SnapshotRequest {
  // Absolute, or relative to the active layer's directory; empty: NAME.N.qcow2 beside the active
  // layer, N the first free number.
  std::string target = {};
  bool anywhere = false;  // the caller may name targets outside the sources (root)
  uint32_t cluster_bits = 16;
  bool lazy_refcounts = false;
};

// An image file, and whether anybody needs it.
struct LayerReport {
  std::string path;
  ImageFormat format = ImageFormat::kQcow2;
  uint64_t actual_size = 0;              // bytes that its file occupies
  std::vector<std::string> built_on_by;  // paths of its direct overlays
  bool needed = true;                    // false: nothing refers to it, it may be deleted
  std::string reason;                    // for people
};

// What became of the layers that a stream has left out.
struct LeftOutLayers {
  std::vector<std::string> unneeded;  // paths: nobody needs them any more, and they are still there
  std::vector<std::string> removed;   // paths
  std::string problem;                // why one that nobody needs was not removed, or empty
};

class CatalogObserver {
 public:
  virtual ~CatalogObserver() = default;
  virtual void DiskAdded(const DiskPtr& disk) = 0;
  virtual void DiskRemoved(const DiskPtr& disk) = 0;
  virtual void ChainChanged(const DiskPtr& disk) = 0;  // new list of layers
  // It shows other contents from now on, perhaps of another size; after ChainChanged.
  virtual void ContentsChanged(const DiskPtr& /*disk*/) {}
  virtual void AccessChanged(const DiskPtr& /*disk*/) {}  // read-only now, or writable again
  virtual void DiskError(const Disk& disk, std::string_view operation, const Error& error) = 0;
  virtual void ImageBroken(const BrokenImage& image) = 0;  // newly broken or another reason
  virtual void Warned(const ImageNote& /*note*/) {}        // a new note that is a warning
};

class Catalog {
 public:
  // Scans once. Fails only when a source itself cannot be used; bad images are in Broken().
  static Result<std::unique_ptr<Catalog>> Open(const std::vector<SourceSpec>& sources,
                                               CatalogOptions options);
  ~Catalog();

  // At most one; set before anything changes and outliving the catalog's use.
  void SetObserver(CatalogObserver* observer);
  // `call` is called when a Rescan would find something that no file tells (wake_up.h).
  void SetWakeUp(std::function<void()> call);
  // Looks at the sources again; new images appear, vanished ones go (open handles keep working).
  Status Rescan();
  // Absolute paths of the directories whose changes call for a Rescan (for inotify).
  std::vector<std::string> WatchedDirectories() const;

  std::vector<DiskPtr> Disks() const;         // sorted by name
  DiskPtr Find(std::string_view name) const;  // null when there is none
  std::vector<BrokenImage> Broken() const;
  // Whether the disk called `name` will appear when its image has been checked.
  bool BeingChecked(std::string_view name) const;
  // Somebody wants the disk called `name`, which could not be opened for a reason that may have
  // passed: whether another Rescan tries.
  bool AskFor(std::string_view name);
  // When a Rescan would try again what failed for such a reason, though no file has changed.
  std::optional<std::chrono::steady_clock::time_point> NextRetry() const;
  std::vector<ImageNote> Notes() const;  // sorted by name
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
  // Names of disks, other than those in `except`, whose chains contain `layer`.
  std::vector<std::string> DisksUsing(const Layer& layer) const;
  // Takes the locks that writing to a layer below the active one needs. Given back by
  // UnlockStreamTarget.
  Status LockStreamTarget(const LayerPtr& layer);
  void UnlockStreamTarget(const LayerPtr& layer);
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

  // Small durable records kept beside the images, in SOURCE/.chainfs/ of the disk's source (made
  // when first written). `name` is one component. Read returns every record with the prefix that
  // counts; `distrusted`, when given, gets why each of the others does not.
  Status WriteRecord(const Disk& disk, const std::string& name, std::string_view contents);
  // The same for a record that must not be there yet: kExists.
  Status CreateRecord(const Disk& disk, const std::string& name, std::string_view contents);
  Status RemoveRecord(const Disk& disk, const std::string& name);
  struct Record {
    std::string source;  // the directory that holds the .chainfs
    std::string name;
    std::string contents;
  };
  Result<std::vector<Record>> ReadRecords(std::string_view prefix,
                                          std::vector<Error>* distrusted = nullptr) const;
  // Whether one that was read is still there; an error when that cannot be told, or when it is not
  // trusted any more.
  Result<bool> HasRecord(const Record& record) const;
  // One that was read, whatever became of its disk.
  Status RemoveRecord(const Record& record);
  // An empty one, unless another daemon is just making it.
  Status RemoveDeadClaim(const Record& record);

  // How many things are remembered that may be gone by now; for tests.
  size_t Remembered();

  // The end is near: scans end early, and other daemons that want the images may wait for them.
  void AnnounceEnd();
  // Flushes and cleanly closes every image. Nothing may be used afterwards.
  Status Close();

 private:
  class Impl;
  explicit Catalog(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace chainfs
