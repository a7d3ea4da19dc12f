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
#include "blocklayer/formats/qcow2/header_fields.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

inline constexpr uint32_t kMaxBackingNameBytes = 1023;  // QEMU's and the specification's limit
inline constexpr uint32_t kMaxBackingFormatBytes = 15;
inline constexpr uint64_t kMaxHeaderL1Bytes = 32ull << 20;
inline constexpr uint64_t kMaxHeaderRefcountTableBytes = 8ull << 20;
inline constexpr uint32_t kMaxSnapshots = 65536;

// The types of header extensions.
inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr uint32_t kExtensionCrypto = 0x0537be77;
inline constexpr uint32_t kExtensionDataFileName = 0x44415441;

struct Qcow2Header : HeaderFields {
  std::optional<BackingReference> backing;
  // Where guest data lies, if not here: as stored, relative to the image's directory or absolute.
  std::optional<std::string> data_file;
  // Persistent bitmaps that are in force. Ones whose autoclear bit was cleared by a writer that
  // does not maintain them do not count: QEMU drops those.
  bool has_bitmaps = false;
  // Where the extension says that bitmaps lie, in force or not; 0 bytes without one.
  HostOffset bitmap_directory;
  uint32_t bitmap_count = 0;
  uint64_t bitmap_directory_bytes = 0;
  // A feature that allows reading but not our writing, as a phrase for people ("it has internal
  // snapshots, ..."). The dirty bit is none: it is repaired before writing.
  std::optional<std::string> read_only_reason;

  // Bytes of the disk: an unaligned stored size counts only its whole sectors, as in QEMU.
  uint64_t virtual_size() const { return RoundDown(size, 512); }
  uint64_t l1_entries_needed() const { return geometry().L1EntriesFor(size); }
};

// Reads and checks the header. kInvalidFormat (not a legal image), kUnsupported (names the feature,
// through the image's own feature name table where it has one), kIo...; every message names the
// file and the field.
Result<Qcow2Header> ReadQcow2Header(File& file);

}  // namespace chainfs::qcow2
