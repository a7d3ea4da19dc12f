// SPDX-License-Identifier: Apache-2.0
//
// The inside of Catalog, shared by the catalog_*.cc files: scanning (catalog_scan.cc), who may be
// written (catalog_roles.cc), snapshots (catalog_snapshot.cc, catalog_recovery.cc).
//
// Terms: an *entry* is an image in view, with its disk or with the reason why it has none. It is
// *frozen* when its disk is read-only and its file carries the locks of a backing layer. A *ghost*
// is a disk that is not in view any more, but that somebody still has open.
//
// Invariants: C1 while any chain of an entry or a ghost, usable or not, is known to contain a layer
// below its top, no disk writes that layer. C2 a chain is opened only when every layer below its
// top is frozen. C3 a file is the top of at most one disk that can be written. C4 a record says
// which layer is active before the first guest write goes there.
//
// Locks: scan_mu_, held by Rescan, so that one scan goes on at a time although it lets others in;
// below it mu_, held across the I/O of scans and changes (through Turn by all but scans); below it
// list_mu_ and events_mu_, leaves.
// Observers are called with none of them held, in the order of the changes.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "blocklayer/base/backoff.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/background_repairs.h"
#include "blocklayer/catalog/catalog.h"
#include "blocklayer/catalog/catalog_roots.h"
#include "blocklayer/catalog/catalog_sources.h"
#include "blocklayer/catalog/chain_opener.h"
#include "blocklayer/catalog/hidden_overlays.h"
#include "blocklayer/catalog/layer_pool.h"
#include "blocklayer/catalog/left_out.h"
#include "blocklayer/catalog/turn_mutex.h"
#include "blocklayer/chain/block_context.h"

namespace chainfs {

class Catalog::Impl {
 public:
  explicit Impl(CatalogOptions options);
  ~Impl();

  Status Start(const std::vector<SourceSpec>& specs) EXCLUDES(mu_);
  void SetObserver(CatalogObserver* observer) { observer_.store(observer); }
  Status Rescan() EXCLUDES(mu_);
  std::vector<std::string> WatchedDirectories() const;

  std::vector<DiskPtr> Disks() const EXCLUDES(list_mu_);
  DiskPtr Find(std::string_view name) const EXCLUDES(list_mu_);
  std::vector<BrokenImage> Broken() const EXCLUDES(list_mu_);
  bool BeingChecked(std::string_view name) const EXCLUDES(list_mu_);
  bool AskFor(std::string_view name) EXCLUDES(list_mu_);
  std::optional<Backoff::Clock::time_point> NextRetry() const EXCLUDES(list_mu_);
  size_t Remembered() EXCLUDES(mu_, list_mu_);
  std::vector<ImageNote> Notes() const EXCLUDES(list_mu_);
  std::vector<std::string> DisksUsing(const Layer& layer) const EXCLUDES(list_mu_);
  const CatalogOptions& options() const { return options_; }
  BlockContext& context() { return *context_; }

  Result<LayerPtr> Snapshot(const DiskPtr& disk, const SnapshotRequest& request) EXCLUDES(mu_);
  Result<std::string> PlanSnapshot(const DiskPtr& disk, const SnapshotRequest& request)
      EXCLUDES(mu_);
  RecordStore& records() { return records_; }
  LayerLeases& leases() { return leases_; }
  void DropLayersBetween(const LayerPtr& top, const LayerPtr& base) EXCLUDES(mu_);
  Result<BackingReference> ReferenceTo(const Disk& disk, const Layer& overlay, const Layer& backing)
      EXCLUDES(mu_);

  std::vector<LayerReport> LayersReport() EXCLUDES(mu_);
  std::vector<std::string> Unneeded(const Layer& top, const Layers& left_out) EXCLUDES(mu_);
  Status MarkLeftOut(const Disk& disk, const Layer& top, const Layers& layers) EXCLUDES(mu_);
  LeftOutLayers RemoveUnneeded(const Layer& top, const Layers& left_out, bool anywhere)
      EXCLUDES(mu_);
  Status AllowWriting(const DiskPtr& disk) EXCLUDES(mu_);
  Result<LeftOutLayers> Revert(const DiskPtr& disk, const Layer& to, bool anywhere, bool dry_run)
      EXCLUDES(mu_);

  void AnnounceEnd() EXCLUDES(mu_);
  Status Close() EXCLUDES(mu_);

 private:
  static constexpr std::string_view kReadOnly = "read-only: ";
  static constexpr std::string_view kMountReadOnly = "the mount is read-only";
  // Why a disk is read-only although nothing that is shown is built on it.
  static constexpr std::string_view kStillBacked =
      "read-only: a job, or a read that began earlier, still reads what was built on it; it can be "
      "written when that has ended";

  struct Entry {
    Candidate candidate;
    std::string name;
    std::optional<FileStat> stat;  // of its file, when last looked at
    WalkedChain walked;            // until it has a disk
    DiskPtr disk;                  // null: `error` says why, or it was not tried yet
    std::optional<Error> error;
    bool failed_to_open = false;      // the error came after the walk
    std::vector<FileStat> opened_as;  // the files of the chain when that happened
    Backoff opening;                  // when to try again, if the reason may pass
    Backoff thawing;                  // the same of making it writable
    std::optional<FileId> being_checked;
    std::optional<ImageHolder> held_by;  // the error is kBusy, and this is who holds its files
    bool remembered = false;             // its name; also when that could not be done
    bool frozen = false;
    std::string frozen_because;  // for people; begins with kReadOnly unless it is still written
    std::string hint;            // for people; constant once it has a disk
    // What it is built on, or may be, beside the layers of its disk or what was walked.
    std::vector<FileId> also_below;

    FileId id() const { return stat ? stat->id : FileId{}; }
  };
  using Entries = std::map<std::string, Entry>;  // by path
  struct LayerUser {
    std::string name;    // of a chain that is built on the layer, or writes it; or of a file
    std::string advice;  // what to do so that it is shown
  };
  using LayerUsers = std::map<FileId, LayerUser>;

  // catalog_hidden.cc
  // Looks for overlays that are not shown.
  void LookForHidden() EXCLUDES(list_mu_) REQUIRES(mu_);
  // What those found keep from being written, now that the entries are known.
  void UpdateHidden() REQUIRES(mu_);
  // Every overlay in the source directories and in those of `layers`, in view or not, before a
  // layer is removed. Lets others in.
  using Around = std::vector<HiddenOverlays::Overlay>;
  Result<Around> LookAround(const Layers& layers) REQUIRES(mu_);

  // catalog_retry.cc
  // Whether a broken one is worth another attempt at opening it.
  bool IsWorthOpening(Entry& entry) REQUIRES(mu_) EXCLUDES(list_mu_);
  static void LookFailed(Entry& entry);
  static bool IsTriedAgain(const Entry& entry);
  // Lets go of what is remembered of things that are gone.
  void ForgetTheGone() REQUIRES(mu_);
  bool IsTriedAgain(std::string_view name) const REQUIRES(list_mu_);
  // When the next scan finds something to try again.
  void PublishNextRetry() REQUIRES(mu_, list_mu_);
  // Says what to do where too many files are open.
  static void NameTheLimit(Error& error);

  // catalog_scan.cc
  enum class ScanKind : uint8_t {
    kFull,   // lets others in before each image that it opens
    kQuick,  // leaves what would have to be opened to the next full one
  };
  Status ScanLocked(ScanKind kind) REQUIRES(mu_);
  // Whether anything was opened.
  bool Reconcile(Inventory inventory, ScanKind kind) REQUIRES(mu_);
  bool OpenEntries(ChainOpener& opener, ScanKind kind) REQUIRES(mu_);
  bool IsQuicklyOpened(const Entry& entry) const REQUIRES(mu_);
  // Lets others in during a long look; false when the catalog is closing.
  bool PauseAndGoOn() REQUIRES(mu_);
  // Looks at everything anew, so that it serves one scan.
  ChainOpener NewOpener() REQUIRES(mu_);
  void ForgetRepairs() REQUIRES(mu_);
  Entries MatchCandidates(Inventory inventory, ChainOpener& opener, Entries& old) REQUIRES(mu_);
  Entry MatchCandidate(Candidate candidate, ChainOpener& opener, Entries& old) REQUIRES(mu_);
  static bool StillTheSame(const Entry& entry, const Candidate& candidate,
                           const Result<FileStat>& stat);
  // Names in use come first; then those that people chose, then what is left.
  enum class NamesFor : uint8_t { kThisMount, kNextMount };
  static std::vector<std::pair<Entry*, std::string>> NamesOf(Entries& entries, NamesFor when);
  static void NameEntries(Entries& entries);
  // Has names that the next mount would give otherwise remembered.
  void RememberNames() REQUIRES(mu_);
  void Retire(Entry& entry) REQUIRES(mu_);
  void OpenEntry(Entry& entry, ChainOpener& opener, const LayerUsers& backed,
                 const LayerUsers& written) REQUIRES(mu_);
  static Status CheckOpenable(const Entry& entry, const LayerUsers& written);
  Status MakeDisk(Entry& entry, Layers layers, const LayerUsers& backed) REQUIRES(mu_);
  // What became of the file of a layer that is not where it was opened; empty for one that is.
  std::string FateOf(const Layer& layer) REQUIRES(mu_);
  // The same of the first such layer of a disk; `known` keeps what was found already.
  std::string LostLayer(const Disk& disk, std::map<const Layer*, std::string>& known) REQUIRES(mu_);
  // The disk learns why it is read-only, if it is by the will of the catalog.
  void TellReason(const Entry& entry) const;
  // catalog_notes.cc
  // What people should know of a disk. `fates` as in LostLayer.
  void AddNotes(const Entry& entry, std::map<const Layer*, std::string>& fates,
                std::vector<ImageNote>& notes) REQUIRES(mu_);
  // For those among `notes` that are new warnings.
  void QueueWarnings(const std::vector<ImageNote>& notes) REQUIRES(list_mu_);
  // Rebuilds what the lists show and queues ImageBroken.
  void PublishLists() REQUIRES(mu_) EXCLUDES(list_mu_);

  // catalog_roles.cc
  // Layers that must not be written.
  LayerUsers BackedLayers() REQUIRES(mu_);
  // "vm1.snap1 is built on it", and what else there is to say.
  static std::string BuiltOn(const LayerUser& user, std::string_view but = {});
  // Layers that guests may be writing.
  LayerUsers WrittenLayers() REQUIRES(mu_);
  void UpdateRoles(const LayerUsers& backed) REQUIRES(mu_);
  bool Freeze(Entry& entry, const LayerUser& user) REQUIRES(mu_);
  void Thaw(Entry& entry) REQUIRES(mu_);

  // catalog_snapshot.cc
  struct SnapshotPlan {
    Entry* entry = nullptr;
    Place target;
    BackingReference backing;  // how the overlay names what was active
  };
  struct KnownRecord {
    std::string file;                 // name in .chainfs
    std::optional<std::string> text;  // as it is; nothing when there is none yet
    ChainRecord contents;
  };
  Result<SnapshotPlan> Plan(const DiskPtr& disk, const SnapshotRequest& request) REQUIRES(mu_);
  Result<Place> PlanTarget(const Entry& entry, const SnapshotRequest& request) REQUIRES(mu_);
  Result<KnownRecord> RecordOf(const Entry& entry) REQUIRES(mu_);
  Status RestoreRecord(const Entry& entry, const KnownRecord& known) REQUIRES(mu_);
  // A VM's user must be able to open the image without chainfs, and nobody else. Best effort: only
  // root may give files away.
  static void TakeOverAccess(File& file, const FileStat& made, const FileStat& from);
  Result<LayerPtr> MakeOverlay(const SnapshotPlan& plan, const SnapshotRequest& request)
      REQUIRES(mu_);
  Result<LayerPtr> SnapshotLocked(const DiskPtr& disk, const SnapshotRequest& request)
      REQUIRES(mu_);
  void UndoSnapshot(Entry& entry, const Place& target, const FileId& made, const KnownRecord& known)
      REQUIRES(mu_);
  // Gives the entry another path in the tables; kExists, and nothing has changed, when that is
  // somebody's.
  Status MoveEntry(Entry& entry, Candidate to) REQUIRES(mu_);
  // catalog_references.cc
  // Null when the disk is not in view (any more).
  Entry* EntryOf(const Disk* disk) REQUIRES(mu_);
  // kExists when anything in view, a ghost, a record or the header of a broken chain names `place`.
  Status CheckNamedByNobody(const Place& place, const std::vector<ChainRecord>& records)
      REQUIRES(mu_);
  // kStale unless `name` in the header of an image at `overlay` leads to the file `id`.
  Status CheckBackingName(const Place& overlay, std::string_view name, const FileId& id)
      REQUIRES(mu_);
  // The name of `backing`, the file `id`, for the header of an image at `overlay`: its file name
  // beside it, else the first of `names` that leads there, else its path.
  Result<BackingReference> ChooseName(const Place& overlay, const std::vector<std::string>& names,
                                      const Place& backing, const FileId& id, ImageFormat format)
      REQUIRES(mu_);
  // How the header of an image at `overlay` should name the file `id` at `backing`.
  Result<BackingReference> ReferenceToPlace(const Place& overlay, const Place& backing,
                                            const FileId& id, ImageFormat format) REQUIRES(mu_);
  // catalog_layers.cc
  // Which references to a layer do not count.
  struct Sight {
    std::set<FileId> gone;           // tops of chains that are as good as removed
    std::optional<FileId> skipped;   // a chain that contains this one does not need the layer
    std::string own_record = {};     // the record of the chain with this active layer
    const Around* around = nullptr;  // overlays that were just seen; these count
  };
  // Why somebody needs the file; empty when nobody does.
  std::string NeededBecause(const FileId& id, const std::string& path, const Sight& sight)
      REQUIRES(mu_);
  std::string NeededByRecord(const FileId& id, const std::string& path, const Sight& sight)
      REQUIRES(mu_);
  // As a disk of its own.
  static std::string NeededByItself(const Entry& entry);
  // The layers of `left_out` that nobody needs, top first.
  Layers UnneededOf(const Layer& top, const Layers& left_out, const Around& around) REQUIRES(mu_);
  // kAccess for a file outside the source directories, unless `anywhere`.
  Status CheckMayRemove(const Layer& layer, bool anywhere) REQUIRES(mu_);
  // Removes the file by which the layer was opened, and nothing else of that name.
  Status RemoveLayerFile(const Layer& layer, bool anywhere) REQUIRES(mu_);
  // No record of a chain that is shown goes on naming `path` as what it was built on.
  Status ForgetInRecords(const std::string& path) REQUIRES(mu_);

  // catalog_revert.cc
  struct RevertPlan {
    Layers dropped;  // top first
    LayerPtr to;
    Place place;  // of `to`, as a later scan will find it
    Layers rest;  // from `to` on
  };
  Result<RevertPlan> PlanRevert(const Entry& entry, const Layer& to, const Around& around,
                                bool anywhere) REQUIRES(mu_);
  Status CheckRevertOf(const Layer& layer, const RevertPlan& plan, const Entry& entry,
                       const Around& around, bool anywhere) REQUIRES(mu_);
  ChainRecord RevertRecord(const RevertPlan& plan, const KnownRecord& known) REQUIRES(mu_);
  Result<LeftOutLayers> RevertLocked(const DiskPtr& disk, const Layer& to, bool anywhere,
                                     bool dry_run) REQUIRES(mu_);
  // Makes the record durable and the disk go on with the older layer; all or nothing.
  Status SwitchBack(Entry& entry, const RevertPlan& plan, const KnownRecord& known,
                    const ChainRecord& record) REQUIRES(mu_);
  // The disks that the layers had of their own go, and the entry takes the place of one.
  void TakePlaceOf(Entry& entry, const RevertPlan& plan, const KnownRecord& known,
                   const ChainRecord& record) REQUIRES(mu_);
  // Removes what `record` says is dropped, then says so in it. `removed` (may be null): paths.
  Status FinishRevert(RecordDirectory& store, const std::string& file, ChainRecord& record,
                      std::vector<std::string>* removed) REQUIRES(mu_);
  Status RemoveDropped(const ChainRecord::Dropped& dropped, const ChainRecord& record)
      REQUIRES(mu_);

  // catalog_left_out.cc
  struct Mark {
    size_t source = 0;
    std::string record;  // file name
    LeftOut contents;
    bool lost = false;  // what it was merged into is not there any more
  };
  // Reads the marks again; forgets those whose files are gone.
  void LoadMarks() REQUIRES(mu_);
  // The mark that keeps the entry from being written, or null.
  const Mark* MarkOf(const Entry& entry) const REQUIRES(mu_);
  static std::string MergedText(const Mark& mark);
  // Whether there is nothing of that name.
  bool IsGone(const std::string& path) REQUIRES(mu_);
  // What was merged into `from`, which has been merged itself, is in `into` now.
  void MergedFurther(const std::string& from, const std::string& into) REQUIRES(mu_);
  Status RemoveMark(const FileId& id) REQUIRES(mu_);

  // catalog_recovery.cc
  void FinishInterrupted(const std::vector<InterruptedSnapshot>& interrupted) REQUIRES(mu_);
  Status FinishInterrupted(const Entry& entry, const InterruptedSnapshot& snapshot) REQUIRES(mu_);
  Result<std::optional<FileId>> UnusedOverlay(const Entry& entry, const Place& place,
                                              const ChainRecord& record) REQUIRES(mu_);

  void Queue(std::function<void(CatalogObserver&)> event) EXCLUDES(events_mu_);
  // On return the observer was told of everything that was queued before, unless the observer
  // itself calls. With no lock held that an observer may want.
  void DeliverEvents() EXCLUDES(mu_, events_mu_);

  const CatalogOptions options_;
  // Shared with layers and disks: somebody may hold on to one for longer than to the catalog.
  const std::shared_ptr<BlockContext> context_;
  std::atomic<CatalogObserver*> observer_ = nullptr;

  BackgroundRepairs repairs_;
  std::atomic<bool> closing_ = false;  // scans end early

  Mutex scan_mu_ ACQUIRED_BEFORE(mu_);
  TurnMutex mu_ ACQUIRED_BEFORE(list_mu_, events_mu_);
  Roots roots_ GUARDED_BY(mu_);
  LayerPool pool_ GUARDED_BY(mu_);
  Entries entries_ GUARDED_BY(mu_);
  HiddenOverlays hidden_ GUARDED_BY(mu_);
  LayerUsers hidden_users_ GUARDED_BY(mu_);
  // Of those who are built directly on each file, and are no part of a chain in view.
  std::map<FileId, std::string> hidden_notes_ GUARDED_BY(mu_);
  std::vector<std::weak_ptr<Disk>> ghosts_ GUARDED_BY(mu_);
  std::set<FileId> condemned_ GUARDED_BY(mu_);    // what reverts are to remove
  std::map<FileId, Mark> marks_ GUARDED_BY(mu_);  // of layers that streams have left out
  bool closed_ GUARDED_BY(mu_) = false;
  uint64_t scans_ GUARDED_BY(mu_) = 0;
  Sources sources_;  // constant after Start but for Collect, which needs mu_
  RecordStore records_;
  LayerLeases leases_;

  mutable Mutex list_mu_;
  std::map<std::string, DiskPtr, std::less<>> disks_ GUARDED_BY(list_mu_);
  std::vector<BrokenImage> broken_ GUARDED_BY(list_mu_);
  std::vector<ImageNote> notes_ GUARDED_BY(list_mu_);
  // Names of broken images and the layers that they are built on.
  std::vector<std::pair<std::string, FileId>> broken_uses_ GUARDED_BY(list_mu_);
  std::optional<Backoff::Clock::time_point> next_retry_ GUARDED_BY(list_mu_);
  std::set<std::string> asked_for_ GUARDED_BY(list_mu_);  // names of broken images
  Backoff::Clock::time_point last_asked_ GUARDED_BY(list_mu_);

  Mutex events_mu_;
  std::deque<std::function<void(CatalogObserver&)>> events_ GUARDED_BY(events_mu_);
  // How many were ever queued, and how many of them the observer has been told.
  uint64_t queued_ GUARDED_BY(events_mu_) = 0;
  uint64_t delivered_ GUARDED_BY(events_mu_) = 0;
  std::thread::id deliverer_ GUARDED_BY(events_mu_);  // none when nobody delivers
  CondVar one_delivered_;
};

}  // namespace chainfs
