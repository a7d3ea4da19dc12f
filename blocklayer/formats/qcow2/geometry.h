// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of one image: how guest offsets select L1 and L2 entries, and clusters refcounts.
// Pure; no I/O, no locks. Format facts: the qcow2 specification, "Cluster mapping" and "Host
// cluster management".
#pragma once

#include <cstdint>

#include "blocklayer/base/types.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/qcow2/l2_codec.h"

namespace chainfs::qcow2 {

inline constexpr uint64_t kRefcountOffsetMask = 0xfffffffffffffe00ull;

struct Geometry {
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  bool extended_l2 = false;
  // Guest data lies in another file, each cluster at its guest offset, and is not counted.
  bool external_data = false;

  L2Codec l2() const { return {version, cluster_bits, extended_l2, external_data}; }
  uint64_t cluster_size() const { return 1ull << cluster_bits; }
  // The least that can be allocated by itself within a cluster.
  uint64_t subcluster_size() const {
    return extended_l2 ? cluster_size() / kSubclusters : cluster_size();
  }
  // Extended L2 entries: which subcluster of its cluster an offset lies in.
  uint32_t SubclusterOf(GuestOffset guest) const {
    return static_cast<uint32_t>(guest.Within(cluster_size()) / subcluster_size());
  }
  uint32_t l2_bits() const { return l2().table_bits(); }
  uint64_t l2_entries() const { return 1ull << l2_bits(); }  // of one table
  // Guest bytes that one L2 table maps.
  uint64_t l2_span() const { return cluster_size() << l2_bits(); }
  uint32_t slice_bytes() const {
    return cluster_size() < MetadataCache::kMaxSliceBytes ? static_cast<uint32_t>(cluster_size())
                                                          : MetadataCache::kMaxSliceBytes;
  }
  uint32_t refcount_bits() const { return 1u << refcount_order; }
  uint64_t max_refcount() const {
    return refcount_order == 6 ? UINT64_MAX : (1ull << refcount_bits()) - 1;
  }
  // Clusters that one refcount block counts.
  uint64_t refblock_entries() const { return cluster_size() * 8 / refcount_bits(); }

  uint64_t ClusterOf(HostOffset host) const { return host.value >> cluster_bits; }
  HostOffset HostOf(uint64_t cluster) const { return HostOffset(cluster << cluster_bits); }
  uint64_t L1Index(GuestOffset guest) const { return guest.value >> (cluster_bits + l2_bits()); }
  uint64_t L2Index(GuestOffset guest) const {
    return (guest.value >> cluster_bits) & (l2_entries() - 1);
  }
  // Where the slice with the entry of `guest` begins in its L2 table, and which entry of it it is.
  uint64_t L2SliceOffset(GuestOffset guest) const {
    return RoundDown(L2Index(guest) * l2().entry_bytes(), slice_bytes());
  }
  uint64_t IndexInL2Slice(GuestOffset guest) const {
    return L2Index(guest) & (l2().entries_in(slice_bytes()) - 1);
  }
  // Guest bytes that one slice of an L2 table maps.
  uint64_t l2_slice_span() const { return l2().entries_in(slice_bytes()) << cluster_bits; }
  uint64_t L1EntriesFor(uint64_t virtual_size) const { return DivRoundUp(virtual_size, l2_span()); }
};

// Reads and writes the refcount of entry `index` in the bytes of a refcount block or slice.
uint64_t LoadRefcount(const std::byte* block, uint64_t index, uint32_t refcount_order);
void StoreRefcount(std::byte* block, uint64_t index, uint32_t refcount_order, uint64_t value);

}  // namespace chainfs::qcow2
