// SPDX-License-Identifier: Apache-2.0
//
// The header of a qcow2 image: what its first cluster says. FORMAT.md lists the bytes and every
// check. Reading accepts what QEMU opens and chainfs can serve, and nothing that contradicts
// itself; the tables themselves (L1 entries, refcounts, snapshots) are not looked at here.
//
// Bounds, whatever the input: one pass over the first cluster, at most 4 MiB read, a few kilobytes
// kept.
//
// Threads: plain values and functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/file.h"

namespace chainfs {

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
inline constexpr uint32_t kMaxBackingNameBytes = 1023;  // QEMU's and the specification's limit
inline constexpr uint32_t kMaxBackingFormatBytes = 15;
inline constexpr uint64_t kMaxHeaderL1Bytes = 32ull << 20;
inline constexpr uint64_t kMaxHeaderRefcountTableBytes = 8ull << 20;
inline constexpr uint32_t kMaxSnapshots = 65536;

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

// The types of header extensions.
inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr uint32_t kExtensionCrypto = 0x0537be77;
inline constexpr uint32_t kExtensionDataFileName = 0x44415441;

struct Qcow2Header {
  uint32_t version = 3;
  uint64_t backing_offset = 0;  // 0: no backing file, whatever backing_size says
  uint32_t backing_size = 0;
  uint32_t cluster_bits = 16;
  uint64_t size = 0;  // as stored; see virtual_size()
  uint32_t crypt_method = 0;
  uint32_t l1_entries = 0;
  HostOffset l1_offset;
  HostOffset refcount_table_offset;
  uint32_t refcount_table_clusters = 0;
  uint32_t snapshot_count = 0;
  HostOffset snapshots_offset;
  uint64_t incompatible = 0;
  uint64_t compatible = 0;
  uint64_t autoclear = 0;
  uint32_t refcount_order = 4;
  uint32_t header_length = kHeaderBytesV2;
  uint8_t compression_type = kCompressionZlib;

  std::optional<BackingReference> backing;
  // Persistent bitmaps that are in force. Ones whose autoclear bit was cleared by a writer that
  // does not maintain them do not count: QEMU drops those.
  bool has_bitmaps = false;
  // Where the extension says that bitmaps lie, in force or not; 0 bytes without one.
  HostOffset bitmap_directory;
  uint64_t bitmap_directory_bytes = 0;
  std::optional<std::string> data_file_name;
  // A feature that allows reading but not our writing, as a phrase for people ("it has internal
  // snapshots, ..."). The dirty bit is none: it is repaired before writing.
  std::optional<std::string> read_only_reason;

  qcow2::Geometry geometry() const {
    return {.version = version, .cluster_bits = cluster_bits, .refcount_order = refcount_order};
  }
  uint64_t cluster_size() const { return 1ull << cluster_bits; }
  // Bytes of the disk: an unaligned stored size counts only its whole sectors, as in QEMU.
  uint64_t virtual_size() const { return RoundDown(size, 512); }
  bool dirty() const { return (incompatible & kIncompatibleDirty) != 0; }
  bool corrupt() const { return (incompatible & kIncompatibleCorrupt) != 0; }
  uint64_t l1_entries_needed() const { return geometry().L1EntriesFor(size); }
  uint64_t refcount_table_bytes() const {
    return uint64_t{refcount_table_clusters} << cluster_bits;
  }
};

// Reads and checks the header. kInvalidFormat (not a legal image), kUnsupported (names the feature,
// through the image's own feature name table where it has one), kIo...; every message names the
// file and the field.
Result<Qcow2Header> ReadQcow2Header(File& file);

}  // namespace chainfs
