// SPDX-License-Identifier: Apache-2.0
//
// L2Tables: which host cluster a guest cluster is mapped to: looking it up, and changing it. To
// *link* is to put a cluster into an L2 entry; to *dereference*, to take it out.
//
// Threads: all methods, any thread. Looking up takes no lock but a cache shard's; changing takes
// TableState::mu, and its caller holds the image's range lock over the guest clusters concerned.
#pragma once

#include <cstdint>
#include <span>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/table_state.h"

namespace chainfs::qcow2 {

class L2Tables {
 public:
  // `tables` must outlive this.
  explicit L2Tables(TableState& tables) : tables_(tables), codec_(tables.geometry.l2()) {}

  // The slice that holds the entry of `guest`; null when there is no L2 table. kCorrupt: a bad L1
  // entry.
  Result<SlicePtr> Slice(GuestOffset guest) const;
  // The entry of `guest` within its slice (null: unallocated). May be kInvalid.
  ClusterMapping Decode(const SlicePtr& slice, GuestOffset guest) const {
    if (slice == nullptr) return {};
    return Judged(codec_.Decode(codec_.Load(*slice, tables_.geometry.IndexInL2Slice(guest))),
                  guest);
  }
  // Both in one. kCorrupt: a bad entry.
  Result<ClusterMapping> Lookup(GuestOffset guest) const;

  // Sets the entry of each guest cluster from `first` on (aligned) to the given one and
  // dereferences what it replaces. What is linked is filled already (Q2-8). All or, on failure,
  // none.
  Status SetEntries(GuestOffset first, std::span<const L2Entry> entries) EXCLUDES(tables_.mu);

 private:
  // Of data in another file: it lies at its guest offset and nowhere else, and is nobody else's.
  ClusterMapping Judged(ClusterMapping mapping, GuestOffset guest) const {
    const Geometry& geometry = tables_.geometry;
    if (!geometry.external_data || !mapping.has_cluster()) return mapping;
    mapping.copied = true;
    if (mapping.host.value != guest.AlignDown(geometry.cluster_size()).value) {
      mapping.kind = ClusterKind::kInvalid;
    }
    return mapping;
  }
  // Where the L2 table behind an L1 entry lies. It is made if there is none, and copied if others
  // may refer to it (Q2-10).
  Result<HostOffset> EnsureTable(uint64_t l1_index) REQUIRES(tables_.mu);
  Result<HostOffset> UnshareTable(uint64_t l1_index, uint64_t entry) REQUIRES(tables_.mu);
  void StoreL1(uint64_t l1_index, uint64_t entry, const SlicePtr& slice) REQUIRES(tables_.mu);

  TableState& tables_;
  const L2Codec codec_;
};

}  // namespace chainfs::qcow2
