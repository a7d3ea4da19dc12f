// SPDX-License-Identifier: Apache-2.0
//
// Metadata: the tables of one qcow2 image (L1, L2, refcounts) in memory, and the one way by which
// changes of them reach the disk.
//
// Terms: to *link* is to put a cluster into an L2 entry; to *dereference*, to take it out. A
// cluster that was dereferenced is in *quarantine* until the change is durable and all I/O that
// could have seen the old mapping has ended; its refcount stays up meanwhile, so the allocator
// cannot find it.
//
// Invariants (numbers of README.md): Q1 a table on disk never refers to a cluster whose refcount on
// disk is lower than its references. Q2 an L2 entry reaches the disk only after the data that it
// names. Q3 a cluster is handed out again, or punched, only after its dereference is durable. Q4
// the header changes by one sector write.
//
// Crash ordering. Changes are made in memory; Commit takes a copy of everything dirty and writes
//     refcount blocks             -> sync (also covers all data and all new, zeroed tables)
//     refcount table entries      -> sync (only when there are new refcount blocks)
//     L2 slices and L1 entries    -> sync
// A crash before the last step leaves leaks; in its midst, entries that are old or new, each valid:
// a new L2 table was zeroed before the first sync, so an L1 entry without its L2 slices reads as
// unallocated, which is the old state. After it, quarantined clusters may go.
// A new refcount table or L1 table goes to the disk past commits, with all refcounts that are not
// known to be there: the dirty ones and those of a commit under way. That commit may still write
// its older copies over them; these count all that it links, and the rest is dirty.
//
// Locks: commit_mu_ (one commit at a time, held across its I/O), then mu_ (all tables in memory;
// held across the loading of a missing slice and the zeroing of a new table, never across a
// commit's I/O), then header_mu_ (changes of the first sector, held across their I/O) and
// reason_mu_ and overlap_mu_ (leaves). Readers of mappings take none of them.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/qcow2/cluster_set.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/refcount_table.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Consecutive host clusters fresh from the allocator.
struct ClusterRun {
  uint64_t first = 0;  // cluster number
  uint64_t count = 0;
  bool beyond_file = false;  // never written since the file was made: reads as zeros already
};

class Metadata {
 public:
  // `file`, `cache` and `epoch` must outlive this.
  Metadata(File& file, MetadataCache& cache, uint64_t owner, IoEpoch& epoch, Qcow2Header header);

  ~Metadata();
  // Before anything else.
  void Load() EXCLUDES(mu_);
  // Of an image that may be written: learns from small ones at once where their tables lie, so that
  // it is known early if those lie on one another; then changes are refused. Holds next to nothing
  // in memory.
  Status LearnEarly() EXCLUDES(mu_);

  const Geometry& geometry() const { return geometry_; }
  Qcow2Header header() const EXCLUDES(header_mu_);
  uint64_t virtual_size() const { return virtual_size_.load(std::memory_order_acquire); }

  // ---- Mappings; any thread, no lock.
  // The slice that holds the L2 entry of `guest`; null when there is no L2 table.
  Result<SlicePtr> L2Slice(GuestOffset guest);
  // Where that is null: guest bytes from `guest` on of which the same is known.
  Result<uint64_t> BytesWithoutL2(GuestOffset guest);
  // Decodes the entry of `guest` within its slice (null: unallocated).
  ClusterMapping Decode(const SlicePtr& slice, GuestOffset guest) const;
  // Both in one.
  Result<ClusterMapping> Lookup(GuestOffset guest);

  // ---- Changes; any thread. The caller holds the range lock over the guest clusters concerned.
  // 1 to `want` consecutive free clusters, counted as in use from now on.
  Result<ClusterRun> Allocate(uint64_t want) EXCLUDES(mu_);
  // Gives back clusters that were never linked.
  void ReleaseUnlinked(const ClusterRun& run) EXCLUDES(mu_);
  // Sets the entry of each guest cluster from `first` on (aligned) to the given one and
  // dereferences what it replaces. The data must have been written. All or, on failure, none.
  Status SetEntries(GuestOffset first, std::span<const L2Entry> entries) EXCLUDES(mu_);
  // Whether guest data may be written to these clusters, which a mapping of `guest` names.
  // kCorrupt if one holds metadata, or lies past the end of the file and nothing counts it.
  Status CheckDataClusters(GuestOffset guest, uint64_t first_cluster, uint64_t count)
      EXCLUDES(mu_, overlap_mu_);

  // Makes everything changed so far durable. Concurrent callers share commits.
  Status Commit() EXCLUDES(commit_mu_, mu_);
  // Whether a commit would do more than sync the file: something is dirty, or in quarantine.
  bool HasPending() EXCLUDES(commit_mu_, mu_);
  // Whether so much is dirty that the writer should commit before it goes on.
  bool WantsCommit() const { return dirty_.load(std::memory_order_relaxed) > kMaxDirty; }

  // ---- The header.
  // Enlarges the L1 table to map `size` bytes; the virtual size stays.
  Status GrowL1For(uint64_t size) EXCLUDES(commit_mu_, mu_);
  // The new size becomes the virtual size, durably. GrowL1For comes first.
  Status SetVirtualSize(uint64_t size) EXCLUDES(header_mu_);
  Status CanSetBacking(const std::optional<BackingReference>& backing) EXCLUDES(header_mu_);
  Status SetBacking(const std::optional<BackingReference>& backing) EXCLUDES(header_mu_);
  std::optional<BackingReference> backing() const EXCLUDES(header_mu_);
  // Before the first change of an image: learns where the tables lie, and clears autoclear bits,
  // none of which we maintain. kCorrupt: tables lie on one another, changes are refused.
  // kNoMemory: the tables of all images together are more than the cache may hold.
  Status PrepareForWriting() EXCLUDES(mu_, header_mu_);
  // Whether that was ever done, so that there may be something to commit.
  bool prepared() const { return prepared_.load(std::memory_order_acquire); }
  // For broken metadata of this very image, found while changing it: refuses all further changes,
  // makes durable what was changed before (none of it depends on what is broken), and says so in
  // the header, as far as that can be written. `why` is what people are told.
  void MarkCorrupt(std::string why) EXCLUDES(commit_mu_, mu_, header_mu_);
  // No change can be made durable any more.
  bool failed() const {
    return file_.poisoned() || header_uncertain_.load(std::memory_order_acquire);
  }
  bool corrupt() const { return corrupt_.load(std::memory_order_acquire); }
  // What was found to be broken; empty unless corrupt().
  std::string corrupt_reason() const EXCLUDES(reason_mu_);
  // Before a clean end: like Commit, and gives back what is in quarantine. No I/O may be under way.
  Status CommitAndRelease() EXCLUDES(commit_mu_, mu_);

 private:
  // A copy of dirty bytes on their way to the disk; keeps the slice from being evicted.
  struct SliceWrite {
    HostOffset offset;
    SlicePtr slice;
    std::vector<std::byte> bytes;
  };
  struct Snapshot {
    std::vector<SliceWrite> refcounts;
    std::vector<SliceWrite> l2;
    std::vector<SliceWrite> l1;
    std::set<uint64_t> reftable_sectors;
    std::vector<std::byte> reftable_bytes;  // one sector each, in the order of the set
    HostOffset reftable_offset;
    std::vector<uint64_t> dereferenced;
    bool empty() const {
      return refcounts.empty() && l2.empty() && l1.empty() && reftable_sectors.empty();
    }
  };
  using DirtySlices = std::map<uint64_t, SlicePtr>;    // by host offset
  static constexpr size_t kMaxDirty = 1024;            // slices: 4 MiB at most
  static constexpr size_t kDereferencesPerSlice = 64;  // count as much as one dirty slice

  // metadata_map.cc
  Result<SlicePtr> LoadSlice(HostOffset offset);
  Result<uint64_t> EnsureL2(uint64_t l1_index) REQUIRES(mu_);
  Result<uint64_t> UnshareL2(uint64_t l1_index, uint64_t entry) REQUIRES(mu_);
  void SetEntry(GuestOffset guest, L2Entry entry, HostOffset table, const SlicePtr& slice)
      REQUIRES(mu_);
  Status CorruptEntry(std::string_view what, uint64_t value) const;

  // metadata_tables.cc
  struct L1Place;
  Result<SlicePtr> L1Slice(const L1Place& place, uint64_t index);
  // 0 past the end of the table.
  Result<uint64_t> L1Entry(uint64_t index);
  // The slice of `index`, to be changed by StoreL1; fetched before anything else is changed.
  Result<SlicePtr> L1SliceToChange(uint64_t index) REQUIRES(mu_);
  void StoreL1(uint64_t index, uint64_t entry, const SlicePtr& slice) REQUIRES(mu_);
  // Copies the table as it is in memory to `to`, which reads as zeros.
  Status CopyL1(const L1Place& from, HostOffset to) REQUIRES(mu_);
  void PublishL1(HostOffset offset, uint64_t entries) REQUIRES(mu_);
  Status LearnTables() REQUIRES(mu_);
  Status FindMetadataClusters() REQUIRES(mu_);
  Status ForEachL2TableOnDisk(const std::function<Status(uint64_t host)>& visit) REQUIRES(mu_);
  Status ChargeTables(uint64_t bytes) REQUIRES(mu_);
  void ForgetTables() REQUIRES(mu_);
  // Slices of what the cluster held before, if it was a table, must not be taken for the new one's.
  void ForgetSlices(uint64_t first_cluster, uint64_t count);

  // metadata_alloc.cc
  Result<ClusterRun> AllocateLocked(uint64_t want) REQUIRES(mu_);
  Status WriteRefcountTable() REQUIRES(mu_);
  void ReleaseLocked(const ClusterRun& run) REQUIRES(mu_);
  Result<uint64_t> AllocateTableCluster() REQUIRES(mu_);
  Result<SlicePtr> RefcountSlice(uint64_t cluster) REQUIRES(mu_);
  Status AddRefcountBlock(uint64_t block_index) REQUIRES(mu_);
  // `extra_clusters` consecutive clusters are counted as in use with it; the first one is returned.
  Result<uint64_t> GrowRefcountTable(uint64_t block_index, uint64_t extra_clusters) REQUIRES(mu_);
  Result<uint64_t> AllocateContiguous(uint64_t count) REQUIRES(mu_);
  uint64_t EntryInSlice(uint64_t cluster) const;
  uint64_t EntriesPerRefcountSlice() const;
  HostOffset RefcountSliceOffset(uint64_t cluster) const REQUIRES(mu_);
  Result<uint64_t> Refcount(uint64_t cluster) REQUIRES(mu_);
  Status ChangeRefcount(uint64_t cluster, int delta) REQUIRES(mu_);
  void MarkDirty(DirtySlices& dirty, HostOffset offset, const SlicePtr& slice) REQUIRES(mu_);
  bool HoldsMetadata(uint64_t first_cluster, uint64_t count) const EXCLUDES(overlap_mu_);
  void NoteWritten(uint64_t end) REQUIRES(mu_);
  void NoteMetadata(uint64_t first_cluster, uint64_t count) EXCLUDES(overlap_mu_);

  // metadata_quarantine.cc
  // The clusters that `old` refers to and `now` does not, one number a reference.
  void AppendDropped(const ClusterMapping& old, const ClusterMapping& now,
                     std::vector<uint64_t>& clusters) const;
  // Each of `clusters` is about to lose a reference (two, if it is named twice). From now on they
  // count as waiting: all, or on failure none. kCorrupt where one holds metadata or has no
  // reference left to lose.
  Status PlanDereferences(std::span<const uint64_t> clusters) REQUIRES(mu_);
  void ForgetPlan(std::span<const uint64_t> clusters) REQUIRES(mu_);
  // The clusters of a table that the header named until now.
  void DereferenceTable(uint64_t first_cluster, uint64_t count) REQUIRES(mu_);
  // Frees what has been in quarantine long enough.
  void ReleaseQuarantine() REQUIRES(commit_mu_) EXCLUDES(mu_);
  std::vector<uint64_t> TakeReleasable() REQUIRES(commit_mu_);
  // Of the sorted `clusters`, those that lose their last reference.
  std::vector<uint64_t> LastReferences(std::span<const uint64_t> clusters) REQUIRES(mu_);

  // metadata_header.cc
  // Refuses further changes; false if they were refused before.
  bool RefuseChanges(std::string why) EXCLUDES(reason_mu_);
  // One atomic sector write and a sync.
  Status ChangeHeader(const std::function<void(HeaderSector)>& change) EXCLUDES(header_mu_);

  // metadata_commit.cc
  Status CommitLocked() REQUIRES(commit_mu_) EXCLUDES(mu_);
  Snapshot TakeSnapshot() REQUIRES(mu_);
  Status WriteSnapshot(const Snapshot& snapshot) REQUIRES(commit_mu_);
  Status WriteSectors(HostOffset table, const std::set<uint64_t>& sectors,
                      std::span<const std::byte> bytes);
  Status WriteSlices(const std::vector<SliceWrite>& slices, uint64_t end);
  void PutBack(Snapshot snapshot) REQUIRES(mu_);
  Status WriteRefcountSlices() REQUIRES(mu_);
  void CountDirty() REQUIRES(mu_);

  // Constant after Load.
  File& file_;
  MetadataCache& cache_;
  const uint64_t owner_;
  IoEpoch& epoch_;
  Geometry geometry_;

  // Own synchronization.
  std::atomic<uint64_t> virtual_size_;
  std::atomic<bool> corrupt_ = false;
  std::atomic<bool> header_uncertain_ = false;  // a change of the header failed half-way
  std::atomic<bool> prepared_ = false;
  std::atomic<size_t> dirty_ = 0;  // in slices
  std::atomic<uint64_t> commit_requests_ = 0;
  // Bytes; nothing was ever written beyond. Grows, under mu_ only.
  std::atomic<uint64_t> file_end_ = 0;
  // Where an L1 table lies. Its slices live in the cache; the first ones, which map all of most
  // disks, are held once used, and read without asking the cache.
  struct L1Place {
    L1Place(HostOffset where, uint64_t count) : offset(where), entries(count) {}
    static constexpr size_t kHeld = 4;
    const HostOffset offset;
    const uint64_t entries;
    mutable std::array<std::atomic<MetadataSlice*>, kHeld> slices = {};
    mutable Mutex mu;
    mutable std::array<SlicePtr, kHeld> holders GUARDED_BY(mu);
  };
  std::atomic<const L1Place*> l1_ = nullptr;

  mutable Mutex commit_mu_ ACQUIRED_BEFORE(mu_);
  uint64_t commits_covered_ GUARDED_BY(commit_mu_) = 0;  // requests that the last commit served
  struct Quarantined {
    uint64_t cluster;
    uint64_t epoch;  // when its dereference was durable
  };
  std::vector<Quarantined> quarantine_ GUARDED_BY(commit_mu_);

  Mutex mu_;
  std::vector<std::unique_ptr<L1Place>> l1_places_ GUARDED_BY(mu_);  // the last one is current
  bool tables_known_ GUARDED_BY(mu_) = false;
  uint64_t charged_ GUARDED_BY(mu_) = 0;  // bytes, to the cache
  RefcountTable reftable_ GUARDED_BY(mu_);
  HostOffset reftable_offset_ GUARDED_BY(mu_);
  uint64_t free_hint_ GUARDED_BY(mu_) = 0;  // no free cluster lies below
  DirtySlices dirty_l2_ GUARDED_BY(mu_);
  DirtySlices dirty_refcounts_ GUARDED_BY(mu_);
  // What the commit under way has taken; null without one. Its refcounts may not be on disk yet.
  const Snapshot* in_flight_ GUARDED_BY(mu_) = nullptr;
  DirtySlices dirty_l1_ GUARDED_BY(mu_);
  std::set<uint64_t> dirty_reftable_sectors_ GUARDED_BY(mu_);
  std::vector<uint64_t> dereferenced_ GUARDED_BY(mu_);  // clusters, not yet durably
  // References that were taken away and whose refcounts are still up: those in dereferenced_, in a
  // commit under way, and in quarantine.
  std::unordered_map<uint64_t, uint32_t> waiting_ GUARDED_BY(mu_);

  mutable Mutex header_mu_ ACQUIRED_AFTER(mu_);
  Qcow2Header header_ GUARDED_BY(header_mu_);  // as on disk

  mutable Mutex reason_mu_ ACQUIRED_AFTER(header_mu_);
  std::string corrupt_reason_ GUARDED_BY(reason_mu_);

  mutable SharedMutex overlap_mu_ ACQUIRED_AFTER(mu_);
  ClusterSet metadata_clusters_ GUARDED_BY(overlap_mu_);
};

}  // namespace chainfs::qcow2
