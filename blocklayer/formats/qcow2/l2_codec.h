// SPDX-License-Identifier: Apache-2.0
//
// L2Codec: how one entry of an L2 table is read and made. Nothing else knows the bits of an entry
// or how many bytes it has. Standard entries have 8; extended ones 16, the second half of which
// says for each of the cluster's 32 *subclusters* whether it is allocated, reads as zeros, or
// neither. Format facts: the qcow2 specification, "L2 table entry", "Standard Cluster Descriptor",
// "Compressed Clusters Descriptor" and "Extended L2 Entries".
//
// Threads: plain values. Loading an entry from a slice gives what one store put there.
#pragma once

#include <bit>
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
  kMixed,  // extended entries: not all of it is alike; subclusters are one of those above
  kCompressed,
  kInvalid,  // contradicts the format: the image is corrupt here
};

// Of extended entries, in a cluster.
inline constexpr uint32_t kSubclusters = 32;
inline constexpr uint32_t kAllSubclusters = UINT32_MAX;  // as a set: bit n is number n

// What an entry says.
struct ClusterMapping {
  ClusterKind kind = ClusterKind::kUnallocated;
  bool copied = false;  // may be written in place
  // kZeroAllocated, kNormal: the cluster; kMixed: the cluster, if it has one; kCompressed: the
  // first byte.
  HostOffset host;
  uint32_t compressed_bytes = 0;
  // Extended entries, as sets of subclusters: those with data, and those that read as zeros.
  uint32_t allocated = 0;
  uint32_t zeroes = 0;

  bool has_cluster() const {
    return kind == ClusterKind::kNormal || kind == ClusterKind::kZeroAllocated ||
           (kind == ClusterKind::kMixed && (host.value != 0 || copied));
  }
  // kMixed: what a subcluster is: kNormal, kUnallocated, kZeroPlain (also where it has a place).
  ClusterKind KindOf(uint32_t subcluster) const {
    if ((allocated >> subcluster & 1) != 0) return ClusterKind::kNormal;
    return (zeroes >> subcluster & 1) != 0 ? ClusterKind::kZeroPlain : ClusterKind::kUnallocated;
  }
  // kMixed: how many subclusters from this one on are alike.
  uint32_t AlikeFrom(uint32_t subcluster) const {
    const ClusterKind first = KindOf(subcluster);
    const uint32_t alike = first == ClusterKind::kNormal      ? allocated
                           : first == ClusterKind::kZeroPlain ? zeroes
                                                              : ~(allocated | zeroes);
    return static_cast<uint32_t>(std::countr_one(alike >> subcluster));
  }
};

// The set of subclusters `first` to `last`.
constexpr uint32_t SubclusterSet(uint32_t first, uint32_t last) {
  return (kAllSubclusters << first) & (kAllSubclusters >> (kSubclusters - 1 - last));
}

// An entry as it stands in a table, in host byte order. Only L2Codec looks inside.
struct L2Entry {
  uint64_t descriptor = 0;
  uint64_t bitmap =
      0;  // extended entries: the set of allocated ones, and above it the set of zeros
  bool operator==(const L2Entry&) const = default;
};

class L2Codec {
 public:
  // `external`: of an image whose data lies in another file, where 0 is a place like any other
  // (told from none by COPIED) and nothing is compressed.
  L2Codec(uint32_t version, uint32_t cluster_bits, bool extended = false, bool external = false)
      : version_(version), cluster_bits_(cluster_bits), extended_(extended), external_(external) {}

  uint32_t entry_bytes() const { return extended_ ? 16 : 8; }
  // log2 of the entries of one table, which fills a cluster.
  uint32_t table_bits() const { return cluster_bits_ - (extended_ ? 4 : 3); }
  uint64_t entries_in(uint64_t bytes) const { return bytes / entry_bytes(); }

  L2Entry Load(const MetadataSlice& slice, uint64_t index) const {
    if (!extended_) return {.descriptor = slice.LoadWord(index), .bitmap = 0};
    const MetadataSlice::Pair pair = slice.LoadPair(index * 2);
    return {.descriptor = pair.first, .bitmap = pair.second};
  }
  void Store(MetadataSlice& slice, uint64_t index, L2Entry entry) const {
    if (extended_) {
      slice.StorePair(index * 2, {.first = entry.descriptor, .second = entry.bitmap});
    } else {
      slice.StoreWord(index, entry.descriptor);
    }
  }
  // `table`: bytes of a table as they are on disk.
  L2Entry Load(const std::byte* table, uint64_t index) const {
    const std::byte* const at = table + index * entry_bytes();
    return {.descriptor = LoadBigEndian<uint64_t>(at),
            .bitmap = extended_ ? LoadBigEndian<uint64_t>(at + 8) : 0};
  }
  void Store(std::byte* table, uint64_t index, L2Entry entry) const {
    std::byte* const at = table + index * entry_bytes();
    StoreBigEndian(at, entry.descriptor);
    if (extended_) StoreBigEndian(at + 8, entry.bitmap);
  }

  ClusterMapping Decode(L2Entry entry) const;

  L2Entry Unallocated() const { return {}; }
  // Reads as zeros without a cluster. Version 2 can say so only by an empty entry, which shows what
  // lies below.
  L2Entry Zero() const {
    if (extended_) return {.descriptor = 0, .bitmap = Bitmap(0, kAllSubclusters)};
    return {.descriptor = version_ >= 3 ? kEntryZero : 0, .bitmap = 0};
  }
  // Of a cluster that nothing else refers to.
  L2Entry Normal(HostOffset host) const {
    return {.descriptor = host.value | kEntryCopied,
            .bitmap = extended_ ? Bitmap(kAllSubclusters, 0) : 0};
  }
  // The same, reading as zeros; version 3.
  L2Entry ZeroAllocated(HostOffset host) const {
    if (extended_) {
      return {.descriptor = host.value | kEntryCopied, .bitmap = Bitmap(0, kAllSubclusters)};
    }
    return {.descriptor = host.value | kEntryCopied | kEntryZero, .bitmap = 0};
  }
  // Extended: of the place, the COPIED flag and the subclusters of `mapping`, whatever its kind.
  L2Entry WithSubclusters(const ClusterMapping& mapping) const {
    return {.descriptor = mapping.host.value | (mapping.copied ? kEntryCopied : 0),
            .bitmap = Bitmap(mapping.allocated, mapping.zeroes)};
  }
  // Of `bytes` compressed bytes, fewer than a cluster, at `host`, which ends before
  // compressed_end().
  L2Entry Compressed(HostOffset host, uint64_t bytes) const {
    const uint64_t further_sectors = ((host.value & 511) + bytes - 1) / 512;
    return {.descriptor = kEntryCompressed | further_sectors << compressed_bits() | host.value,
            .bitmap = 0};
  }
  uint64_t compressed_end() const { return 1ull << compressed_bits(); }
  // The same entry with the COPIED flag set or not; not of compressed ones.
  L2Entry WithCopied(L2Entry entry, bool copied) const {
    return {
        .descriptor = copied ? entry.descriptor | kEntryCopied : entry.descriptor & ~kEntryCopied,
        .bitmap = entry.bitmap};
  }

 private:
  static constexpr uint64_t Bitmap(uint32_t allocated, uint32_t zeroes) {
    return uint64_t{zeroes} << kSubclusters | allocated;
  }
  void DecodeSubclusters(L2Entry entry, ClusterMapping& mapping) const;
  // Low bits of a compressed entry: byte offset; then the number of further 512-byte sectors.
  uint32_t compressed_bits() const { return 62 - (cluster_bits_ - 8); }

  uint32_t version_;
  uint32_t cluster_bits_;
  bool extended_;
  bool external_;
};

inline void L2Codec::DecodeSubclusters(L2Entry entry, ClusterMapping& mapping) const {
  mapping.allocated = static_cast<uint32_t>(entry.bitmap);
  mapping.zeroes = static_cast<uint32_t>(entry.bitmap >> kSubclusters);
  const bool has_place = mapping.host.value != 0 || mapping.copied;
  if ((mapping.allocated & mapping.zeroes) != 0 || (mapping.allocated != 0 && !has_place)) {
    mapping.kind = ClusterKind::kInvalid;
  } else if (mapping.allocated == kAllSubclusters) {
    mapping.kind = ClusterKind::kNormal;
  } else if (mapping.zeroes == kAllSubclusters) {
    mapping.kind = has_place ? ClusterKind::kZeroAllocated : ClusterKind::kZeroPlain;
  } else {
    mapping.kind = has_place || entry.bitmap != 0 ? ClusterKind::kMixed : ClusterKind::kUnallocated;
  }
}

inline ClusterMapping L2Codec::Decode(L2Entry entry) const {
  const uint64_t cluster_size = 1ull << cluster_bits_;
  const uint64_t word = entry.descriptor;
  ClusterMapping mapping;
  if ((word & kEntryCompressed) != 0) {
    const uint64_t offset = word & (compressed_end() - 1);
    const uint64_t sectors = ((word & ((1ull << 62) - 1)) >> compressed_bits()) + 1;
    const bool sound =
        (word & kEntryCopied) == 0 && offset >= cluster_size && entry.bitmap == 0 && !external_;
    mapping.kind = sound ? ClusterKind::kCompressed : ClusterKind::kInvalid;
    mapping.host = HostOffset(offset);
    mapping.compressed_bytes = static_cast<uint32_t>(sectors * 512 - (offset & 511));
    return mapping;
  }
  const uint64_t offset = word & kEntryOffsetMask;
  const bool zero = (word & kEntryZero) != 0;
  mapping.copied = (word & kEntryCopied) != 0;
  mapping.host = HostOffset(offset);
  if ((offset & (cluster_size - 1)) != 0 || (zero && (version_ < 3 || extended_)) ||
      (offset == 0 && mapping.copied && !external_)) {
    mapping.kind = ClusterKind::kInvalid;
  } else if (extended_) {
    DecodeSubclusters(entry, mapping);
  } else if (offset == 0 && (zero || !mapping.copied)) {
    mapping.kind = zero ? ClusterKind::kZeroPlain : ClusterKind::kUnallocated;
  } else {
    mapping.kind = zero ? ClusterKind::kZeroAllocated : ClusterKind::kNormal;
  }
  return mapping;
}

}  // namespace chainfs::qcow2
