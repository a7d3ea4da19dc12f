// SPDX-License-Identifier: Apache-2.0
//
// ChainMoves: what jobs have the catalog do to the chain of a disk that is in use: let it go on
// with another layer, hold a point in time, keep a file that they change or fill from being taken
// for a disk.
//
// Threads: all methods, any thread but those that hold a disk's write gate. They wait for their
// turn (turn_mutex.h), so none may be called under a lock that a scan needs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/catalog/target_image.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

struct CatalogParts;

struct ContinueRequest {
  // What the disk goes on with: a layer below its active one, or else the image of `target`.
  LayerPtr to = {};
  TargetImagePtr target = {};
  // Called once, with no change of the disk under way and none beginning: makes that show
  // exactly what the disk shows. May read the disk; must not change it, nor its taps, nor call the
  // catalog.
  std::function<Status()> last_round = {};
  // In the own chain: the layers that the disk leaves are removed, as a revert does it; else their
  // files stay, are not shown, and count as built on nothing.
  bool remove_left = false;
  bool anywhere = false;  // files outside the sources may be removed (root)
  std::string job = {};   // its id: its own record does not count as a user of `to`
};

// A point in time that is held for a job.
struct FrozenPoint {
  LayerPtr frozen;   // what was active
  LayerPtr overlay;  // what the disk goes on in
};

struct FreezeRequest {
  std::string id;  // of the job
  // As of SnapshotRequest; empty: OverlayNameFor.
  std::string target = {};
  bool anywhere = false;
};

// NAME.JOB.qcow2, beside the active layer.
std::string OverlayNameFor(const Disk& disk, const std::string& job);

class ChainMoves {
 public:
  // `parts` outlives this.
  explicit ChainMoves(CatalogParts& parts) : parts_(parts) {}

  // The disk goes on with another list of layers that shows the same; who has it open goes on. What
  // was removed, or lies about unneeded. A `to` that is longer than the disk makes it longer, a
  // shorter one is kInvalidArgument. kBusy while anybody else is built on `to` (UsersOf), or a
  // point in time that is ended so is still open; kReadOnly. After an error nothing has changed but
  // what `last_round` wrote. A job that has written `to` beneath stacks (CHN-16) keeps its guard of
  // the epoch of `to` until this returns.
  //
  // Crash ordering: `last_round`, `to` flushed, the chain's record says that `to` is active (and
  // which layers the chain has left), guests write to it; then marks and removal. A crash before
  // the record leaves the old layer active, after it the new one; the contents are the same.
  Result<LeftOutLayers> ContinueOn(const DiskPtr& disk, const ContinueRequest& request);

  // Who is built on `layer` of the disk, other than chains that contain its layer `whole` and the
  // own disks of the layers between: one phrase each for people ("vm2 is built on it"). Chains that
  // contain the top of what a commit merges stay right while it writes to what is below; `whole` is
  // that top. Looks at the sources again. `job` as in ContinueRequest.
  Result<std::vector<std::string>> UsersOf(const DiskPtr& disk, const Layer& layer,
                                           const Layer& whole, const std::string& job);

  // Before the first of them changes: `layers`, top first, show a mixture from now on, until
  // EndedWell, UnmarkChanging or Catalog::MarkLeftOut (after which they have changed for good and
  // are not shown). Only what contains `whole`, or what an earlier job that did not finish has left
  // whole (spoilt_layers.h), is shown as a disk meanwhile, beside their own disks, which say so.
  // Durable on return, like what it returns: the way back, for who has written nothing after all.
  using TakeBack = std::function<Status()>;
  Result<TakeBack> MarkChanging(const Disk& disk, const Layers& layers, const Layer& whole,
                                const std::string& job);
  // `layer` of the disk has durably got all from `whole` down to it: not marked any more, unless an
  // earlier job that did not finish has spoilt it from above `whole`. Durable on return.
  Status EndedWell(const Disk& disk, const Layer& layer, const Layer& whole);
  // They are what they show again, whoever has changed them. Durable on return.
  Status UnmarkChanging(const Layers& layers);
  // kBusy where the disk itself shows a mixture, so that a copy of it would be worth nothing; kIo
  // where that cannot be told.
  Status CheckWhole(const Disk& disk);
  // Whether it is marked as changing; an error where that cannot be told.
  Result<bool> Changing(const Layer& layer);
  // What the own disks of the layers show has changed: nobody is to keep what they showed.
  void TellChanged(const Layers& layers);

  // Holds a point in time for a job: the disk goes on in an overlay, and what was active is the
  // read-only disk NAME@ID, also after a restart, until ContinueOn goes back to it (with
  // `remove_left`). Where the job holds one already, that one. Meanwhile the chain takes no
  // snapshot, no revert and no other move: kBusy, also for a second job. Else fails like
  // Catalog::Snapshot.
  Result<FrozenPoint> FreezeFor(const DiskPtr& disk, const FreezeRequest& request);
  // The point in time that the job holds; nothing when it holds none.
  Result<std::optional<FrozenPoint>> FrozenFor(const DiskPtr& disk, std::string_view id);
  // Whether the record of any chain, shown or not, says that the job holds a point in time of it.
  Result<bool> HoldsPoint(std::string_view id);
  // kAccess when a job would write a layer that lies outside the source directories: only root may
  // have that done. The active layer of a disk that can be written may lie anywhere: whoever writes
  // the disk writes it.
  Status CheckMayWrite(const Disk& disk, const Layers& layers);

  // Snapshots of several disks at one point in time: all of them or none, also after a crash. Their
  // records must lie in one directory (kUnsupported). The layers that are active afterwards. After
  // an error RecordStore::GroupHasHappened tells whether anybody may find that it has.
  Result<Layers> SnapshotTogether(const GroupRequest& request);
  // What that would make, without doing it: absolute paths.
  Result<std::vector<std::string>> PlanTogether(const GroupRequest& request);

  // Opens an image for a job that fills it, or makes it. Never a file that anybody uses: kBusy;
  // kExists, kNotFound, kAccess as its request says. It is not shown as a disk until it was given
  // back as complete.
  Result<TargetImagePtr> OpenTarget(const DiskPtr& disk, const TargetRequest& request);

 private:
  CatalogParts& parts_;
};

}  // namespace chainfs
