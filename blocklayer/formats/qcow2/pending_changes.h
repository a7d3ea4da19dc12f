// SPDX-License-Identifier: Apache-2.0
//
// PendingChanges: what differs between the tables of one image in memory and on disk: dirty slices,
// dirty entries of the refcount table, and the clusters that lose references by them. A commit
// takes all of it at once, and puts it back if it fails.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/qcow2/commit_batch.h"
#include "blocklayer/formats/qcow2/refcount_table.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class PendingChanges {
 public:
  using Slices = std::map<uint64_t, SlicePtr>;  // by host offset

  // `weight`, which must outlive this, says in slices how much is pending, for readers who hold no
  // lock.
  explicit PendingChanges(std::atomic<size_t>& weight) : weight_(weight) {}

  // The slice, which belongs at `offset` on disk, was changed. It is held until it is durable.
  void AddL1(HostOffset offset, const SlicePtr& slice) { Add(l1_, offset, slice); }
  void AddRefcounts(HostOffset offset, const SlicePtr& slice) { Add(refcounts_, offset, slice); }
  // The same for several at once; cannot fail.
  void AddL2(Slices slices) {
    l2_.merge(slices);
    Weigh();
  }
  // The entry of the refcount table was changed.
  void AddRefcountTableEntry(uint64_t index);
  // Each of them loses a reference, once for each time it is named.
  void AddDereferenced(std::span<const uint64_t> clusters);

  // Places of the external data file that nothing is mapped to any more.
  void AddVacated(std::span<const uint64_t> clusters);

  bool empty() const;
  bool has_refcount_table_entries() const { return !reftable_sectors_.empty(); }
  // All of the table was just written, durably, elsewhere or here.
  void ForgetL1() { l1_.clear(); }
  void ForgetRefcountTable() { reftable_sectors_.clear(); }

  // All that is pending, copied; nothing is pending then.
  CommitBatch Take(const RefcountTable& reftable, HostOffset reftable_offset, HostOffset l1_end);
  // What could not be written is pending again, unless it is so anyway with newer contents.
  // `reftable_offset`: where the refcount table lies now.
  void PutBack(CommitBatch batch, HostOffset reftable_offset);
  // The batch that a commit is writing: its refcounts may not be on disk yet. Null: none.
  void SetUnderWay(const CommitBatch* batch) { under_way_ = batch; }
  // Writes all refcounts that are not known to be on disk, as they are now: the pending ones, and
  // those of the batch under way. That batch may still write its older copies over them; these
  // count all that it links, and the rest is pending.
  Status WriteRefcounts(File& file) const;

 private:
  static constexpr size_t kDereferencesPerSlice = 64;  // weigh as much as one slice

  void Add(Slices& slices, HostOffset offset, const SlicePtr& slice);
  void Weigh();

  std::atomic<size_t>& weight_;
  Slices l1_;
  Slices l2_;
  Slices refcounts_;
  std::set<uint64_t> reftable_sectors_;
  std::vector<uint64_t> dereferenced_;
  std::vector<uint64_t> vacated_;
  const CommitBatch* under_way_ = nullptr;
};

}  // namespace chainfs::qcow2
