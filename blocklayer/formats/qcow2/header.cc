// SPDX-License-Identifier: Apache-2.0
//
// Reading and checking the header. The order matters for messages only: first what says that this
// is a qcow2 image at all, then its features, then where its tables lie.
#include "blocklayer/formats/qcow2/header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header_extensions.h"
#include "blocklayer/image/create_options.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kKnownIncompatible = kIncompatibleDirty | kIncompatibleCorrupt |
                                        kIncompatibleDataFile | kIncompatibleCompressionType |
                                        kIncompatibleExtendedL2;
constexpr uint64_t kMaxFileOffset = INT64_MAX;
constexpr uint32_t kBitmapsExtensionBytes = 24;
constexpr uint32_t kMaxBitmaps = 65535;
constexpr uint64_t kMaxBitmapDirectoryBytes = 64ull << 20;

std::unexpected<Error> Invalid(const HeaderBytes& bytes, std::string_view what) {
  return Fail(ErrorKind::kInvalidFormat,
              fmt::format("{}: not a valid qcow2 image: {}", bytes.path(), what));
}

std::unexpected<Error> Unsupported(const HeaderBytes& bytes, std::string_view what) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: qcow2 feature not supported: {}", bytes.path(), what));
}

// The fields; of them, magic, version, cluster size and header length are sound: what all else is
// read by.
Result<Qcow2Header> ParseFields(HeaderBytes& bytes, uint64_t file_size) {
  if (file_size < kHeaderBytesV2) {
    return Invalid(bytes, fmt::format("the file is shorter ({} bytes) than a header ({} bytes)",
                                      file_size, kHeaderBytesV2));
  }
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(0, kHeaderBytesWritten));
  if (!HasQcow2Magic(raw)) return Invalid(bytes, "it does not begin with the qcow2 magic");
  Qcow2Header header;
  static_cast<HeaderFields&>(header) = DecodeHeaderFields(raw.first<kHeaderBytesWritten>());
  if (header.version != 2 && header.version != 3) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: qcow2 version {} is not supported, only 2 and 3 are", bytes.path(),
                            header.version));
  }
  if (header.cluster_bits < 9 || header.cluster_bits > 21) {
    return Invalid(bytes, fmt::format("cluster_bits is {}, not 9 to 21", header.cluster_bits));
  }
  const uint32_t length = header.header_length;
  if (header.version >= 3 && (file_size < kHeaderBytesV3 || length < kHeaderBytesV3 ||
                              length % 8 != 0 || length > header.cluster_size())) {
    return Invalid(bytes, fmt::format("header_length is {}; it must be a multiple of 8 from {} up "
                                      "to the cluster size {}, within the file",
                                      length, kHeaderBytesV3, header.cluster_size()));
  }
  return header;
}

Status CheckUnknownFeatures(HeaderBytes& bytes, const Qcow2Header& header) {
  const uint64_t unknown = header.incompatible & ~kKnownIncompatible;
  if (unknown == 0) return {};
  const auto bit = static_cast<uint32_t>(std::countr_zero(unknown));
  std::string name;
  // The table may not be readable in an image from the future; the bit is error enough.
  const Result<ExtensionArea> area = FindExtensions(bytes, header);
  if (area) {
    CHAINFS_ASSIGN(name, IncompatibleFeatureName(bytes, *area, bit));
  }
  return Unsupported(bytes, fmt::format("incompatible feature bit {}{}", bit,
                                        name.empty() ? "" : fmt::format(" ({})", name)));
}

Status CheckFeatures(HeaderBytes& bytes, const Qcow2Header& header) {
  CHAINFS_TRY(CheckUnknownFeatures(bytes, header));
  if (header.crypt_method != 0) {
    return Unsupported(bytes, fmt::format("encryption (crypt_method {}{})", header.crypt_method,
                                          header.crypt_method == 1   ? ", AES"
                                          : header.crypt_method == 2 ? ", LUKS"
                                                                     : ""));
  }
  const bool has_type = (header.incompatible & kIncompatibleCompressionType) != 0;
  if (has_type != (header.compression_type != kCompressionZlib)) {
    return Invalid(bytes, fmt::format("compression_type is {}, but its feature bit is {}",
                                      header.compression_type, has_type ? "set" : "not set"));
  }
  if (header.compression_type > kCompressionZstd) {
    return Unsupported(bytes, fmt::format("compression_type {}", header.compression_type));
  }
  if ((header.autoclear & kAutoclearRawDataFile) != 0 && !header.has_data_file()) {
    return Invalid(bytes, "it is marked to have a raw external data file, but has no data file");
  }
  if (header.has_data_file() && header.snapshot_count > 0) {
    return Unsupported(bytes, "external data file with internal snapshots");
  }
  if (header.has_raw_data_file() && header.backing_offset != 0) {
    return Invalid(bytes, "it has a raw external data file, and also a backing file");
  }
  if ((header.incompatible & kIncompatibleExtendedL2) != 0 &&
      header.cluster_bits < kLeastSubclusterBits) {
    return Invalid(bytes, fmt::format("extended L2 entries with cluster_bits {}, less than {}",
                                      header.cluster_bits, kLeastSubclusterBits));
  }
  if (header.refcount_order > 6) {
    return Invalid(bytes, fmt::format("refcount_order is {}, not 0 to 6", header.refcount_order));
  }
  return {};
}

// Alignment and end of a table, as far as it has a length at all.
Status CheckTablePlace(HeaderBytes& bytes, const Qcow2Header& header, std::string_view name,
                       HostOffset offset, uint64_t length) {
  if (offset.Within(header.cluster_size()) != 0) {
    return Invalid(bytes,
                   fmt::format("{} offset {:#x} is not cluster-aligned", name, offset.value));
  }
  if (offset.value > kMaxFileOffset || length > kMaxFileOffset - offset.value) {
    return Invalid(bytes, fmt::format("{} offset {:#x} is out of range", name, offset.value));
  }
  if (length > 0 && offset.value < header.cluster_size()) {
    return Invalid(bytes, fmt::format("{} offset {:#x} lies in the header", name, offset.value));
  }
  return {};
}

Status CheckL1(HeaderBytes& bytes, const Qcow2Header& header, uint64_t file_size) {
  const uint64_t needed = header.l1_entries_needed();
  const uint64_t length = uint64_t{header.l1_entries} * 8;
  if (needed * 8 > kMaxHeaderL1Bytes) {
    return Invalid(bytes,
                   fmt::format("size {} is more than {}-byte clusters can map with an L1 table of "
                               "at most 32 MiB",
                               header.size, header.cluster_size()));
  }
  if (length > kMaxHeaderL1Bytes) {
    return Invalid(bytes, fmt::format("l1_size is {} entries; the L1 table may have at most 32 MiB",
                                      header.l1_entries));
  }
  if (header.l1_entries < needed) {
    return Invalid(bytes, fmt::format("l1_size is {} entries, but size {} needs {}",
                                      header.l1_entries, header.size, needed));
  }
  CHAINFS_TRY(CheckTablePlace(bytes, header, "l1_table", header.l1_offset, length));
  // A copy that was cut short would otherwise read as an empty disk.
  if (needed > 0 &&
      (header.l1_offset.value > file_size || needed * 8 > file_size - header.l1_offset.value)) {
    return Invalid(bytes, fmt::format("l1_table at {:#x} lies beyond the end of the file ({} "
                                      "bytes); is the file truncated?",
                                      header.l1_offset.value, file_size));
  }
  const uint64_t refcounts = header.refcount_table_offset.value;
  if (length > 0 && header.l1_offset.value < refcounts + header.refcount_table_bytes() &&
      refcounts < header.l1_offset.value + length) {
    return Invalid(bytes, fmt::format("l1_table at {:#x} overlaps the refcount table at {:#x}",
                                      header.l1_offset.value, refcounts));
  }
  return {};
}

Status CheckTables(HeaderBytes& bytes, const Qcow2Header& header, uint64_t file_size) {
  const uint64_t refcount_bytes = header.refcount_table_bytes();
  if (refcount_bytes == 0 || refcount_bytes > kMaxHeaderRefcountTableBytes) {
    return Invalid(bytes, fmt::format("refcount_table_clusters is {}; the refcount table must have "
                                      "1 cluster to 8 MiB",
                                      header.refcount_table_clusters));
  }
  CHAINFS_TRY(CheckTablePlace(bytes, header, "refcount_table", header.refcount_table_offset,
                              refcount_bytes));
  if (header.refcount_table_offset.value >= file_size) {
    return Invalid(bytes, fmt::format("refcount_table at {:#x} lies beyond the end of the file ({} "
                                      "bytes); is the file truncated?",
                                      header.refcount_table_offset.value, file_size));
  }
  CHAINFS_TRY(CheckL1(bytes, header, file_size));
  if (header.snapshot_count > kMaxSnapshots) {
    return Invalid(bytes, fmt::format("nb_snapshots is {}, more than {}", header.snapshot_count,
                                      kMaxSnapshots));
  }
  // Entries have at least 40 bytes; snapshot_table reads them.
  return CheckTablePlace(bytes, header, "snapshots", header.snapshots_offset,
                         uint64_t{header.snapshot_count} * 40);
}

Status CheckBackingPlace(HeaderBytes& bytes, const Qcow2Header& header) {
  if (header.backing_offset == 0) return {};  // then backing_size means nothing
  const uint64_t cluster = header.cluster_size();
  if (header.backing_offset > cluster || header.backing_offset < header.header_length) {
    return Invalid(bytes, fmt::format("backing_file_offset is {}; the name must lie between the "
                                      "header and the end of the first cluster ({})",
                                      header.backing_offset, cluster));
  }
  const uint64_t room = std::min<uint64_t>(kMaxBackingNameBytes, cluster - header.backing_offset);
  if (header.backing_size == 0 || header.backing_size > room) {
    return Invalid(bytes, fmt::format("backing_file_size is {}; the name must have 1 to {} bytes",
                                      header.backing_size, room));
  }
  return {};
}

Result<std::string> TextAt(HeaderBytes& bytes, uint64_t offset, uint64_t length) {
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(offset, length));
  std::string text(length, '\0');
  std::ranges::transform(raw, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

Status ReadBacking(HeaderBytes& bytes, const ExtensionArea& area, Qcow2Header& header) {
  std::optional<std::string> format;
  if (area.backing_format) {
    if (area.backing_format->length > kMaxBackingFormatBytes) {
      return Invalid(bytes, fmt::format("backing format has {} bytes, more than {}",
                                        area.backing_format->length, kMaxBackingFormatBytes));
    }
    CHAINFS_ASSIGN(format, TextAt(bytes, area.backing_format->data, area.backing_format->length));
    if (format->contains('\0')) return Invalid(bytes, "backing format contains a NUL byte");
    if (format->empty()) format.reset();
  }
  if (header.backing_offset == 0) return {};
  CHAINFS_ASSIGN(std::string name, TextAt(bytes, header.backing_offset, header.backing_size));
  if (name.contains('\0')) return Invalid(bytes, "backing_file name contains a NUL byte");
  header.backing = BackingReference{.name = std::move(name), .format = std::move(format)};
  return {};
}

Status ReadDataFile(HeaderBytes& bytes, const ExtensionArea& area, Qcow2Header& header) {
  if (!header.has_data_file()) return {};
  if (!area.data_file_name || area.data_file_name->length == 0 ||
      area.data_file_name->length > kMaxBackingNameBytes) {
    return Invalid(bytes, fmt::format("it has an external data file, whose name must have 1 to {} "
                                      "bytes",
                                      kMaxBackingNameBytes));
  }
  CHAINFS_ASSIGN(header.data_file,
                 TextAt(bytes, area.data_file_name->data, area.data_file_name->length));
  if (header.data_file->contains('\0')) {
    return Invalid(bytes, "the name of its external data file contains a NUL byte");
  }
  return {};
}

Status ReadBitmaps(HeaderBytes& bytes, const ExtensionArea& area, Qcow2Header& header) {
  if (!area.bitmaps) return {};
  const bool in_force = (header.autoclear & kAutoclearBitmaps) != 0;
  if (!in_force && area.bitmaps->length != kBitmapsExtensionBytes) return {};
  if (area.bitmaps->length != kBitmapsExtensionBytes) {
    return Invalid(bytes, fmt::format("bitmaps extension has {} bytes, not {}",
                                      area.bitmaps->length, kBitmapsExtensionBytes));
  }
  CHAINFS_ASSIGN(const std::span<const std::byte> raw,
                 bytes.Get(area.bitmaps->data, kBitmapsExtensionBytes));
  const auto count = LoadBigEndian<uint32_t>(raw.data());
  const auto directory_bytes = LoadBigEndian<uint64_t>(raw.data() + 8);
  const HostOffset directory(LoadBigEndian<uint64_t>(raw.data() + 16));
  if (in_force && LoadBigEndian<uint32_t>(raw.data() + 4) != 0) {
    return Invalid(bytes, "bitmaps extension sets reserved bits");
  }
  if (count == 0 || count > kMaxBitmaps || directory_bytes == 0 ||
      directory_bytes > kMaxBitmapDirectoryBytes) {
    if (!in_force) return {};
    return Invalid(bytes, fmt::format("bitmaps extension names {} bitmaps in a directory of {} "
                                      "bytes; 1 to {} in at most 64 MiB are possible",
                                      count, directory_bytes, kMaxBitmaps));
  }
  Status placed = CheckTablePlace(bytes, header, "bitmap directory", directory, directory_bytes);
  if (!placed) return in_force ? placed : Status();
  header.bitmap_directory = directory;
  header.bitmap_count = count;
  header.bitmap_directory_bytes = directory_bytes;
  header.has_bitmaps = in_force;
  return {};
}

std::optional<std::string> ReadOnlyReason(const Qcow2Header& header) {
  if (header.corrupt()) {
    return "it is marked corrupt; look at it with qemu-img check, repair it with -r all";
  }
  return std::nullopt;
}

}  // namespace

Result<Qcow2Header> ParseQcow2Header(HeaderBytes& bytes, uint64_t file_size) {
  CHAINFS_ASSIGN(Qcow2Header header, ParseFields(bytes, file_size));
  CHAINFS_TRY(CheckBackingPlace(bytes, header));
  CHAINFS_TRY(CheckFeatures(bytes, header));
  CHAINFS_TRY(CheckTables(bytes, header, file_size));
  CHAINFS_ASSIGN(const ExtensionArea area, FindExtensions(bytes, header));
  if (area.crypto) {
    return Invalid(bytes, "it has an encryption extension, but crypt_method is 0");
  }
  CHAINFS_TRY(ReadBacking(bytes, area, header));
  CHAINFS_TRY(ReadDataFile(bytes, area, header));
  CHAINFS_TRY(ReadBitmaps(bytes, area, header));
  header.read_only_reason = ReadOnlyReason(header);
  return header;
}

Result<Qcow2Header> ReadQcow2Header(File& file) {
  CHAINFS_ASSIGN(const uint64_t file_size, file.Size());
  HeaderBytes bytes(file);
  return ParseQcow2Header(bytes, file_size);
}

}  // namespace chainfs::qcow2
