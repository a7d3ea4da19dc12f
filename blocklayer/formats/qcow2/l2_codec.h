// SPDX-License-Identifier: Apache-2.0
//
// L2Codec: how one entry of an L2 table is read and made. Nothing else knows the bits of an entry
// or how many bytes it has, so that extended L2 entries (16 bytes) would be a matter of this file.
// Format facts: the qcow2 specification, "L2 table entry", "Standard Cluster Descriptor" and
// "Compressed Clusters Descriptor".
//
// Threads: plain values. Loading from and storing to a slice is atomic word by word.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/types.h"
#include "blocklayer/cache/metadata_cache.h"

namespace chainfs::qcow2 {

// Entries of L1 tables have these two, too.
inline constexpr uint64_t kEntryCopied = 1ull << 63;                 // refcount is exactly one
inline constexpr uint64_t kEntryOffsetMask = 0x00fffffffffffe00ull;  // bits 9..55

inline constexpr uint64_t kEntryCompressed = 1ull << 62;
inline constexpr uint64_t kEntryZero = 1ull << 0;  // version 3, standard entries

enum class ClusterKind : uint8_t {
  kUnallocated,
  kZeroPlain,      // reads as zeros, no host cluster
  kZeroAllocated,  // reads as zeros, keeps a host cluster
  kNormal,
  kCompressed,
  kInvalid,  // contradicts the format: the image is corrupt here
};

// What an entry says.
struct ClusterMapping {
  ClusterKind kind = ClusterKind::kUnallocated;
  bool copied = false;  // may be written in place
  HostOffset host;      // kZeroAllocated, kNormal: the cluster; kCompressed: the first byte
  uint32_t compressed_bytes = 0;

  bool has_cluster() const {
    return kind == ClusterKind::kNormal || kind == ClusterKind::kZeroAllocated;
  }
};

// An entry as it stands in a table, in host byte order. Only L2Codec looks inside.
struct L2Entry {
  uint64_t descriptor = 0;
  bool operator==(const L2Entry&) const = default;
};

class L2Codec {
 public:
  L2Codec(uint32_t version, uint32_t cluster_bits)
      : version_(version), cluster_bits_(cluster_bits) {}

  uint32_t entry_bytes() const { return 8; }
  // log2 of the entries of one table, which fills a cluster.
  uint32_t table_bits() const { return cluster_bits_ - 3; }
  uint64_t entries_in(uint64_t bytes) const { return bytes / entry_bytes(); }

  L2Entry Load(const MetadataSlice& slice, uint64_t index) const { return {slice.LoadWord(index)}; }
  void Store(MetadataSlice& slice, uint64_t index, L2Entry entry) const {
    slice.StoreWord(index, entry.descriptor);
  }
  // `table`: bytes of a table as they are on disk.
  L2Entry Load(const std::byte* table, uint64_t index) const {
    return {LoadBigEndian<uint64_t>(table + index * entry_bytes())};
  }
  void Store(std::byte* table, uint64_t index, L2Entry entry) const {
    StoreBigEndian(table + index * entry_bytes(), entry.descriptor);
  }

  ClusterMapping Decode(L2Entry entry) const;

  L2Entry Unallocated() const { return {}; }
  // Reads as zeros without a cluster. Version 2 can say so only by an empty entry, which shows what
  // lies below.
  L2Entry Zero() const { return {version_ >= 3 ? kEntryZero : 0}; }
  // Of a cluster that nothing else refers to.
  L2Entry Normal(HostOffset host) const { return {host.value | kEntryCopied}; }
  // The same, reading as zeros; version 3.
  L2Entry ZeroAllocated(HostOffset host) const { return {host.value | kEntryCopied | kEntryZero}; }
  // Of `bytes` compressed bytes, fewer than a cluster, at `host`, which ends before
  // compressed_end().
  L2Entry Compressed(HostOffset host, uint64_t bytes) const {
    const uint64_t further_sectors = ((host.value & 511) + bytes - 1) / 512;
    return {kEntryCompressed | further_sectors << compressed_bits() | host.value};
  }
  uint64_t compressed_end() const { return 1ull << compressed_bits(); }
  // The same entry with the COPIED flag set or not; not of compressed ones.
  L2Entry WithCopied(L2Entry entry, bool copied) const {
    return {copied ? entry.descriptor | kEntryCopied : entry.descriptor & ~kEntryCopied};
  }

 private:
  // Low bits of a compressed entry: byte offset; then the number of further 512-byte sectors.
  uint32_t compressed_bits() const { return 62 - (cluster_bits_ - 8); }

  uint32_t version_;
  uint32_t cluster_bits_;
};

inline ClusterMapping L2Codec::Decode(L2Entry entry) const {
  const uint64_t cluster_size = 1ull << cluster_bits_;
  const uint64_t word = entry.descriptor;
  ClusterMapping mapping;
  if ((word & kEntryCompressed) != 0) {
    const uint64_t offset = word & (compressed_end() - 1);
    const uint64_t sectors = ((word & ((1ull << 62) - 1)) >> compressed_bits()) + 1;
    mapping.kind = (word & kEntryCopied) != 0 || offset < cluster_size ? ClusterKind::kInvalid
                                                                       : ClusterKind::kCompressed;
    mapping.host = HostOffset(offset);
    mapping.compressed_bytes = static_cast<uint32_t>(sectors * 512 - (offset & 511));
    return mapping;
  }
  const uint64_t offset = word & kEntryOffsetMask;
  const bool zero = (word & kEntryZero) != 0;
  mapping.copied = (word & kEntryCopied) != 0;
  mapping.host = HostOffset(offset);
  if ((offset & (cluster_size - 1)) != 0 || (zero && version_ < 3)) {
    mapping.kind = ClusterKind::kInvalid;
  } else if (offset == 0) {
    mapping.kind = zero ? ClusterKind::kZeroPlain : ClusterKind::kUnallocated;
    if (mapping.copied) mapping.kind = ClusterKind::kInvalid;
  } else {
    mapping.kind = zero ? ClusterKind::kZeroAllocated : ClusterKind::kNormal;
  }
  return mapping;
}

}  // namespace chainfs::qcow2
