// SPDX-License-Identifier: Apache-2.0
//
// BitmapKeeper: the persistent bitmaps of one image that is written: what records in them, and that
// the file never says more of them than is true.
//
// Crash ordering. Before the first change of the disk the bitmaps that record are marked in use in
// the directory, durably, so what the file stores of them counts no more. Storing them writes the
// bits, then the tables, then takes the mark away, each durable before the next. Whoever finds the
// mark when opening the image has a bitmap that a crash left behind: it is never used, keeps the
// mark, and can only be removed. Bitmaps that do not record stay untouched, unless the disk changes
// its size: then all are taken into memory and stored like the others.
//
// Threads: all methods, any thread; mu_ is held across I/O. Recording takes no part in it.
// Locks: mu_, then those of BitmapStorage; BitmapRecorder's is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/bitmap_recorder.h"
#include "blocklayer/formats/qcow2/bitmap_storage.h"
#include "blocklayer/image/bitmap_info.h"

namespace chainfs::qcow2 {

class BitmapKeeper {
 public:
  // All must outlive this.
  BitmapKeeper(TableState& tables, CommitLedger& ledger, MetadataCache& cache)
      : tables_(tables), storage_(tables, ledger), memory_(cache) {}

  // Before each change of what the disk shows, once its tables are known.
  Status Begin() EXCLUDES(mu_) {
    return begun_.load(std::memory_order_acquire) ? Status() : BeginAtFirst();
  }
  // Of a change after that; records it when it ends.
  BitmapRecorder& recorder() { return recorder_; }
  // Before the disk changes its size: takes all bitmaps into memory. Afterwards: it has so many
  // bytes now. The caller keeps other changes out.
  Status PrepareToResize() EXCLUDES(mu_);
  void Resized(uint64_t size) { recorder_.Resize(size); }

  // Stores what is in memory; the next change begins anew. The caller keeps changes out.
  Status Store() EXCLUDES(mu_);

  // After Begin. As WritableImage::ChangeBitmap.
  Status Change(const BitmapChange& change) EXCLUDES(mu_);
  Result<std::vector<BitmapInfo>> List() EXCLUDES(mu_);

 private:
  Status BeginAtFirst() EXCLUDES(mu_);
  // Into memory. False: its bits cannot be had, so that it cannot be used any more.
  // `budget`: bytes that may be read, and are left.
  bool Load(const StoredBitmap& bitmap, bool recording, uint64_t& budget) REQUIRES(mu_);
  Status StoreOne(StoredBitmap& bitmap) REQUIRES(mu_);
  Result<StoredBitmap*> Find(const std::string& name) REQUIRES(mu_);
  // The same, of one that can be used.
  Result<StoredBitmap*> FindUsable(const std::string& name) REQUIRES(mu_);
  Status CheckNew(const BitmapChange& change) REQUIRES(mu_);
  Status Add(const BitmapChange& change) REQUIRES(mu_);
  Status Remove(const std::string& name) REQUIRES(mu_);
  Status Clear(const std::string& name) REQUIRES(mu_);
  Status Enable(const std::string& name) REQUIRES(mu_);
  Status Disable(const std::string& name) REQUIRES(mu_);
  // Of one that is in memory: its flags on disk.
  Status SetFlags(StoredBitmap& bitmap, uint32_t flags) REQUIRES(mu_);
  uint64_t EntriesFor(uint32_t granularity_bits) const;

  TableState& tables_;
  std::atomic<bool> begun_ = false;
  Mutex mu_;
  BitmapStorage storage_ GUARDED_BY(mu_);
  BitmapMemory memory_;
  BitmapRecorder recorder_;                          // after memory_, which its bits give back to
  std::vector<StoredBitmap> known_ GUARDED_BY(mu_);  // once begun
};

}  // namespace chainfs::qcow2
