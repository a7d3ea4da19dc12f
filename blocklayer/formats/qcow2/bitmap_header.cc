// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header_extensions.h"
#include "blocklayer/formats/qcow2/header_layout.h"
#include "blocklayer/formats/qcow2/header_update.h"

namespace chainfs::qcow2 {
namespace {

using HeadSector = std::array<std::byte, kHeaderSector>;

constexpr uint32_t kBitmapsDataBytes = 24;

std::unexpected<Error> NoRoomForBitmaps(const File& file) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: the first sector of its header has no room for bitmaps; use "
                          "qemu-img bitmap while the image is not in use",
                          file.path()));
}

std::array<std::byte, kBitmapsDataBytes> EncodePlace(const BitmapPlace& place) {
  std::array<std::byte, kBitmapsDataBytes> data = {};
  StoreBigEndian(data.data(), place.count);
  StoreBigEndian(data.data() + 8, place.bytes);
  StoreBigEndian(data.data() + 16, place.directory.value);
  return data;
}

void AppendExtension(std::vector<std::byte>& area, uint32_t type, std::span<const std::byte> data) {
  const size_t at = area.size();
  area.resize(at + kExtensionHeadBytes + RoundUp(data.size(), 8));
  StoreBigEndian(area.data() + at, type);
  StoreBigEndian(area.data() + at + 4, static_cast<uint32_t>(data.size()));
  std::ranges::copy(data, area.begin() + static_cast<ptrdiff_t>(at + kExtensionHeadBytes));
}

// All extensions but that of the bitmaps, that of `place`, and an end mark, in at most `room`
// bytes; nothing if that cannot be.
Result<std::optional<std::vector<std::byte>>> LayOutExtensions(
    HeaderBytes& bytes, const ExtensionArea& old, uint64_t begin, uint64_t room,
    const std::optional<BitmapPlace>& place) {
  std::vector<std::byte> area;
  std::vector<std::byte> names;
  const uint64_t end = old.end - (old.has_end_mark ? kExtensionHeadBytes : 0);
  for (uint64_t at = begin; at + kExtensionHeadBytes <= end;) {
    CHAINFS_ASSIGN(const std::span<const std::byte> head, bytes.Get(at, kExtensionHeadBytes));
    const auto type = LoadBigEndian<uint32_t>(head.data());
    const auto length = LoadBigEndian<uint32_t>(head.data() + 4);
    CHAINFS_ASSIGN(const std::span<const std::byte> data,
                   bytes.Get(at + kExtensionHeadBytes, length));
    if (type == kExtensionFeatureNames) {
      names.assign(data.begin(), data.end());
    } else if (type != kExtensionBitmaps) {
      if (area.size() > room) return std::nullopt;
      AppendExtension(area, type, data);
    }
    at += kExtensionHeadBytes + RoundUp(length, 8);
  }
  if (place) AppendExtension(area, kExtensionBitmaps, EncodePlace(*place));
  const uint64_t needed = area.size() + kExtensionHeadBytes;
  if (needed > room) return std::nullopt;
  if (!names.empty() && needed + kExtensionHeadBytes < room) {
    const uint64_t most = room - needed - kExtensionHeadBytes;
    if (names.size() > most) names.resize(most / kFeatureNameBytes * kFeatureNameBytes);
    if (!names.empty()) AppendExtension(area, kExtensionFeatureNames, names);
  }
  area.resize(area.size() + kExtensionHeadBytes);
  return area;
}

struct NewHead {
  HeadSector sector = {};
  uint64_t early_offset = 0;  // of the part of a moved name behind the sector
  std::vector<std::byte> early;
  uint64_t name_offset = 0;
};

// The first sector with the extensions laid out anew; nothing if they have no room.
Result<std::optional<NewHead>> PlanHead(File& file, const Qcow2Header& header,
                                        const std::optional<BitmapPlace>& place) {
  HeaderBytes bytes(file);
  CHAINFS_ASSIGN(const ExtensionArea old, FindExtensions(bytes, header));
  const uint64_t begin = header.header_length;
  if (begin + kExtensionHeadBytes > kHeaderSector) return std::nullopt;
  CHAINFS_ASSIGN(const std::optional<std::vector<std::byte>> area,
                 LayOutExtensions(bytes, old, begin, kHeaderSector - begin, place));
  if (!area) return std::nullopt;
  NewHead head{.sector = {}, .early_offset = 0, .early = {}, .name_offset = header.backing_offset};
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(0, kHeaderSector));
  std::ranges::copy(raw, head.sector.begin());
  const uint64_t area_end = begin + area->size();
  std::vector<std::byte> name;
  if (header.backing_offset != 0) {
    CHAINFS_ASSIGN(const std::span<const std::byte> text,
                   bytes.Get(header.backing_offset, header.backing_size));
    name.assign(text.begin(), text.end());
  }
  const bool moves = !name.empty() && header.backing_offset < area_end;
  if (moves) {
    const std::optional<uint64_t> to = PlaceName({.cluster_size = header.cluster_size(),
                                                  .area_end = area_end,
                                                  .old_area_end = old.end,
                                                  .old_name = header.backing_offset,
                                                  .old_name_size = header.backing_size},
                                                 name.size());
    if (!to) return std::nullopt;
    head.name_offset = *to;
  }
  // What the old area used beyond the new one is nobody's.
  std::ranges::copy(*area, head.sector.begin() + static_cast<ptrdiff_t>(begin));
  if (moves) {
    const uint64_t in_sector = head.name_offset < kHeaderSector
                                   ? std::min(name.size(), kHeaderSector - head.name_offset)
                                   : 0;
    if (in_sector > 0) {
      std::ranges::copy(std::span(name).first(in_sector),
                        head.sector.begin() + static_cast<ptrdiff_t>(head.name_offset));
    }
    head.early_offset = head.name_offset + in_sector;
    head.early.assign(name.begin() + static_cast<ptrdiff_t>(in_sector), name.end());
    PutBackingName(head.sector, head.name_offset, header.backing_size);
  }
  const uint64_t autoclear =
      place ? header.autoclear | kAutoclearBitmaps : header.autoclear & ~kAutoclearBitmaps;
  PutAutoclearFeatures(head.sector, autoclear);
  return head;
}

// What a reader will find: the same backing file, and these bitmaps.
Status RehearseBitmaps(File& file, const Qcow2Header& header, const NewHead& head,
                       const std::optional<BitmapPlace>& place) {
  HeaderBytes bytes(file);
  const uint64_t name_end = header.backing_offset != 0 ? header.backing_offset + header.backing_size
                                                       : uint64_t{kHeaderSector};
  CHAINFS_ASSIGN(const std::span<const std::byte> raw,
                 bytes.Get(0, std::max<uint64_t>(name_end, kHeaderSector)));
  std::vector<std::byte> copy(raw.begin(), raw.end());
  std::ranges::copy(head.sector, copy.begin());
  if (!head.early.empty()) {
    copy.resize(std::max(copy.size(), head.early_offset + head.early.size()));
    std::ranges::copy(head.early, copy.begin() + static_cast<ptrdiff_t>(head.early_offset));
  }
  CHAINFS_ASSIGN(const uint64_t file_size, file.Size());
  HeaderBytes state(std::move(copy), file.path());
  const Result<Qcow2Header> read = ParseQcow2Header(state, file_size);
  const bool right = read && read->backing == header.backing &&
                     read->has_bitmaps == place.has_value() &&
                     (!place || (read->bitmap_directory == place->directory &&
                                 read->bitmap_directory_bytes == place->bytes &&
                                 read->bitmap_count == place->count));
  return right ? Status() : NoRoomForBitmaps(file);
}

Status WriteHeaderSector(File& file, uint64_t number, const HeadSector& sector, bool& tried) {
  if (file.poisoned()) return file.DataSync();  // fails, and says why
  tried = true;
  CHAINFS_TRY(file.WriteAt(HostOffset(number * kHeaderSector), sector));
  return file.DataSync();
}

Status WriteAutoclear(File& file, uint64_t bits, bool& tried) {
  HeadSector sector;
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), sector));
  PutAutoclearFeatures(sector, bits);
  return WriteHeaderSector(file, 0, sector, tried);
}

Status WriteHead(File& file, Qcow2Header& header, const NewHead& head, bool& tried) {
  if (!head.early.empty()) {
    CHAINFS_TRY(file.WriteAt(HostOffset(head.early_offset), head.early));
    CHAINFS_TRY(file.DataSync());
  }
  CHAINFS_TRY(WriteHeaderSector(file, 0, head.sector, tried));
  header.backing_offset = head.name_offset;
  return {};
}

// In the place that the extension has. The autoclear bit, where it is not set, comes last.
Status ChangeInPlace(File& file, const Qcow2Header& header, uint64_t data, const BitmapPlace& place,
                     bool& tried) {
  HeadSector sector;
  const uint64_t number = data / kHeaderSector;
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(number * kHeaderSector), sector));
  std::ranges::copy(EncodePlace(place),
                    sector.begin() + static_cast<ptrdiff_t>(data % kHeaderSector));
  CHAINFS_TRY(WriteHeaderSector(file, number, sector, tried));
  if ((header.autoclear & kAutoclearBitmaps) != 0) return {};
  return WriteAutoclear(file, header.autoclear | kAutoclearBitmaps, tried);
}

Status ChangeExtension(File& file, Qcow2Header& header, const std::optional<BitmapPlace>& place,
                       bool& tried) {
  HeaderBytes bytes(file);
  CHAINFS_ASSIGN(const ExtensionArea area, FindExtensions(bytes, header));
  if (place && area.bitmaps && area.bitmaps->length == kBitmapsDataBytes) {
    const uint64_t data = area.bitmaps->data;
    if (data / kHeaderSector == (data + kBitmapsDataBytes - 1) / kHeaderSector) {
      return ChangeInPlace(file, header, data, *place, tried);
    }
  }
  CHAINFS_ASSIGN(const std::optional<NewHead> head, PlanHead(file, header, place));
  if (head) {
    CHAINFS_TRY(RehearseBitmaps(file, header, *head, place));
    return WriteHead(file, header, *head, tried);
  }
  if (place) return NoRoomForBitmaps(file);
  // The extension stays, and means nothing.
  return WriteAutoclear(file, header.autoclear & ~kAutoclearBitmaps, tried);
}

}  // namespace

Status SetBitmapsInHeader(File& file, Qcow2Header& header, const std::optional<BitmapPlace>& place,
                          bool& tried) {
  if (header.version < 3) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: a version 2 image has no bitmaps", file.path()));
  }
  CHAINFS_TRY(ChangeExtension(file, header, place, tried));
  header.has_bitmaps = place.has_value();
  header.bitmap_count = place ? place->count : 0;
  header.bitmap_directory = place ? place->directory : HostOffset();
  header.bitmap_directory_bytes = place ? place->bytes : 0;
  header.autoclear =
      place ? header.autoclear | kAutoclearBitmaps : header.autoclear & ~kAutoclearBitmaps;
  return {};
}

}  // namespace chainfs::qcow2
