// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of one image: how guest offsets select L1 and L2 entries, how clusters select
// refcounts, and how one L2 entry is to be read. Pure; no I/O, no locks. Format facts: the qcow2
// specification, "Cluster mapping" and "Host cluster management".
#pragma once

#include <cstdint>

#include "blocklayer/base/types.h"
#include "blocklayer/cache/metadata_cache.h"

namespace chainfs::qcow2 {

inline constexpr uint64_t kEntryCopied = 1ull << 63;  // refcount is exactly one
inline constexpr uint64_t kEntryCompressed = 1ull << 62;
inline constexpr uint64_t kEntryZero = 1ull << 0;                    // version 3, standard entries
inline constexpr uint64_t kEntryOffsetMask = 0x00fffffffffffe00ull;  // bits 9..55
inline constexpr uint64_t kEntryReservedMask =
    ~(kEntryCopied | kEntryCompressed | kEntryZero | kEntryOffsetMask);
inline constexpr uint64_t kRefcountOffsetMask = 0xfffffffffffffe00ull;

enum class ClusterKind : uint8_t {
  kUnallocated,
  kZeroPlain,      // reads as zeros, no host cluster
  kZeroAllocated,  // reads as zeros, keeps a host cluster
  kNormal,
  kCompressed,
  kInvalid,  // contradicts the format: the image is corrupt here
};

// One decoded L2 entry.
struct ClusterMapping {
  ClusterKind kind = ClusterKind::kUnallocated;
  bool copied = false;  // may be written in place
  HostOffset host;      // kZeroAllocated, kNormal: the cluster; kCompressed: the first byte
  uint32_t compressed_bytes = 0;
};

struct Geometry {
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;

  uint64_t cluster_size() const { return 1ull << cluster_bits; }
  uint32_t l2_bits() const { return cluster_bits - 3; }  // log2 of the entries of one L2 table
  uint64_t l2_entries() const { return 1ull << l2_bits(); }
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
  uint64_t L1EntriesFor(uint64_t virtual_size) const { return DivRoundUp(virtual_size, l2_span()); }

  // `entry` in host byte order.
  ClusterMapping Decode(uint64_t entry) const;
  uint64_t NormalEntry(uint64_t cluster) const { return HostOf(cluster).value | kEntryCopied; }
};

inline ClusterMapping Geometry::Decode(uint64_t entry) const {
  ClusterMapping mapping;
  if ((entry & kEntryCompressed) != 0) {
    // Low x bits: byte offset; then the number of further 512-byte sectors.
    const uint32_t x = 62 - (cluster_bits - 8);
    const uint64_t offset = entry & ((1ull << x) - 1);
    const uint64_t sectors = ((entry & ((1ull << 62) - 1)) >> x) + 1;
    mapping.kind = (entry & kEntryCopied) != 0 || offset < cluster_size()
                       ? ClusterKind::kInvalid
                       : ClusterKind::kCompressed;
    mapping.host = HostOffset(offset);
    mapping.compressed_bytes = static_cast<uint32_t>(sectors * 512 - (offset & 511));
    return mapping;
  }
  const uint64_t offset = entry & kEntryOffsetMask;
  const bool zero = (entry & kEntryZero) != 0;
  mapping.copied = (entry & kEntryCopied) != 0;
  mapping.host = HostOffset(offset);
  if ((offset & (cluster_size() - 1)) != 0 || (zero && version < 3)) {
    mapping.kind = ClusterKind::kInvalid;
  } else if (offset == 0) {
    mapping.kind = zero ? ClusterKind::kZeroPlain : ClusterKind::kUnallocated;
    if (mapping.copied) mapping.kind = ClusterKind::kInvalid;
  } else {
    mapping.kind = zero ? ClusterKind::kZeroAllocated : ClusterKind::kNormal;
  }
  return mapping;
}

// Reads and writes the refcount of entry `index` in the bytes of a refcount block or slice.
uint64_t LoadRefcount(const std::byte* block, uint64_t index, uint32_t refcount_order);
void StoreRefcount(std::byte* block, uint64_t index, uint32_t refcount_order, uint64_t value);

}  // namespace chainfs::qcow2
