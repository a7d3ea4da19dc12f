// SPDX-License-Identifier: Apache-2.0
//
// The fixed fields of a qcow2 header, and the only code that knows where their bytes lie: reading
// them, writing them, and changing one in a header as it stands. FORMAT.md lists the bytes. Nothing
// is judged here.
//
// Threads: plain values and functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blocklayer/base/types.h"
#include "blocklayer/formats/qcow2/geometry.h"

namespace chainfs::qcow2 {

// Where the fields lie; all big-endian.
inline constexpr size_t kOffsetMagic = 0;                   // 4 bytes
inline constexpr size_t kOffsetVersion = 4;                 // 4
inline constexpr size_t kOffsetBackingOffset = 8;           // 8
inline constexpr size_t kOffsetBackingSize = 16;            // 4
inline constexpr size_t kOffsetClusterBits = 20;            // 4
inline constexpr size_t kOffsetSize = 24;                   // 8
inline constexpr size_t kOffsetCryptMethod = 32;            // 4
inline constexpr size_t kOffsetL1Size = 36;                 // 4, entries
inline constexpr size_t kOffsetL1Table = 40;                // 8
inline constexpr size_t kOffsetRefcountTable = 48;          // 8
inline constexpr size_t kOffsetRefcountTableClusters = 56;  // 4
inline constexpr size_t kOffsetSnapshotCount = 60;          // 4
inline constexpr size_t kOffsetSnapshots = 64;              // 8
// Version 3 only from here on.
inline constexpr size_t kOffsetIncompatible = 72;      // 8
inline constexpr size_t kOffsetCompatible = 80;        // 8
inline constexpr size_t kOffsetAutoclear = 88;         // 8
inline constexpr size_t kOffsetRefcountOrder = 96;     // 4
inline constexpr size_t kOffsetHeaderLength = 100;     // 4
inline constexpr size_t kOffsetCompressionType = 104;  // 1, only if header_length > 104

inline constexpr uint32_t kQcow2Magic = 0x514649fb;
inline constexpr uint32_t kHeaderBytesV2 = 72;
inline constexpr uint32_t kHeaderBytesV3 = 104;       // the least that version 3 allows
inline constexpr uint32_t kHeaderBytesWritten = 112;  // what chainfs writes, with compression type

inline constexpr uint64_t kIncompatibleDirty = 1ull << 0;
inline constexpr uint64_t kIncompatibleCorrupt = 1ull << 1;
inline constexpr uint64_t kIncompatibleDataFile = 1ull << 2;
inline constexpr uint64_t kIncompatibleCompressionType = 1ull << 3;
inline constexpr uint64_t kIncompatibleExtendedL2 = 1ull << 4;
inline constexpr uint64_t kCompatibleLazyRefcounts = 1ull << 0;
inline constexpr uint64_t kAutoclearBitmaps = 1ull << 0;
inline constexpr uint64_t kAutoclearRawDataFile = 1ull << 1;

inline constexpr uint8_t kCompressionZlib = 0;
inline constexpr uint8_t kCompressionZstd = 1;

// What one write replaces as a whole, whatever the power does.
inline constexpr size_t kHeaderSector = 512;
using HeaderSector = std::span<std::byte, kHeaderSector>;

struct HeaderFields {
  uint32_t version = 3;
  uint64_t backing_offset = 0;  // 0: no backing file, whatever backing_size says
  uint32_t backing_size = 0;
  uint32_t cluster_bits = 16;
  uint64_t size = 0;  // bytes, as stored
  uint32_t crypt_method = 0;
  uint32_t l1_entries = 0;
  HostOffset l1_offset;
  HostOffset refcount_table_offset;
  uint32_t refcount_table_clusters = 0;
  uint32_t snapshot_count = 0;
  HostOffset snapshots_offset;
  // What version 2 lacks, these say for it.
  uint64_t incompatible = 0;
  uint64_t compatible = 0;
  uint64_t autoclear = 0;
  uint32_t refcount_order = 4;
  uint32_t header_length = kHeaderBytesV2;
  uint8_t compression_type = kCompressionZlib;

  bool dirty() const { return (incompatible & kIncompatibleDirty) != 0; }
  bool has_data_file() const { return (incompatible & kIncompatibleDataFile) != 0; }
  // Its data file reads as the disk by itself.
  bool has_raw_data_file() const {
    return has_data_file() && (autoclear & kAutoclearRawDataFile) != 0;
  }
  bool corrupt() const { return (incompatible & kIncompatibleCorrupt) != 0; }
  Geometry geometry() const {
    return {.version = version,
            .cluster_bits = cluster_bits,
            .refcount_order = refcount_order,
            .extended_l2 = (incompatible & kIncompatibleExtendedL2) != 0,
            .external_data = has_data_file()};
  }
  uint64_t cluster_size() const { return 1ull << cluster_bits; }
  uint64_t refcount_table_bytes() const {
    return uint64_t{refcount_table_clusters} << cluster_bits;
  }
};

// Whether an image begins so; at least 4 bytes.
bool HasQcow2Magic(std::span<const std::byte> bytes);
// `bytes`: the first ones of an image, zeros where it ends earlier.
HeaderFields DecodeHeaderFields(std::span<const std::byte, kHeaderBytesWritten> bytes);
// Magic and all fields that the version has; at least header_length bytes.
void EncodeHeaderFields(const HeaderFields& fields, std::span<std::byte> bytes);

// Changes of a header as it stands. Fields that change together lie in one sector.
void PutVirtualSize(HeaderSector header, uint64_t size);
void PutL1Table(HeaderSector header, HostOffset offset, uint32_t entries);
void PutRefcountTable(HeaderSector header, HostOffset offset, uint32_t clusters);
// 0, 0: no backing file.
void PutBackingName(HeaderSector header, uint64_t offset, uint32_t size);
// Version 3.
void PutIncompatibleFeatures(HeaderSector header, uint64_t bits);
void PutCompatibleFeatures(HeaderSector header, uint64_t bits);
void PutAutoclearFeatures(HeaderSector header, uint64_t bits);

}  // namespace chainfs::qcow2
