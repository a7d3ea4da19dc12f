// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/version_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>

#include "blocklayer/formats/qcow2/header_extensions.h"
#include "blocklayer/formats/qcow2/header_layout.h"

namespace chainfs::qcow2 {
namespace {

std::unexpected<Error> CannotChangeVersion(const HeaderBytes& bytes, std::string_view why) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: cannot be made another version: {}", bytes.path(), why));
}

// Whether version 2 can say all that the header does.
Status CheckVersion2(const HeaderBytes& bytes, const Qcow2Header& header) {
  if ((header.incompatible & kIncompatibleCompressionType) != 0) {
    return CannotChangeVersion(bytes, "version 2 has no zstd compression");
  }
  if (header.geometry().extended_l2) {
    return CannotChangeVersion(bytes, "version 2 has no extended L2 entries");
  }
  if (header.incompatible != 0) {
    return CannotChangeVersion(bytes, "it has features that version 2 does not have");
  }
  if (header.refcount_order != 4) {
    return CannotChangeVersion(bytes, "version 2 has 16-bit refcounts only");
  }
  if (header.has_bitmaps) return CannotChangeVersion(bytes, "it has persistent bitmaps");
  if (header.header_length > kHeaderBytesWritten) {
    return CannotChangeVersion(bytes, "its header has fields that are not known here");
  }
  return {};
}

// The extensions as they will be, with an end mark.
Result<std::vector<std::byte>> NewArea(HeaderBytes& bytes, const Qcow2Header& header,
                                       const ExtensionArea& area, uint32_t version) {
  const uint32_t begin = header.header_length;
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(begin, area.end - begin));
  std::vector<std::byte> kept(raw.begin(), raw.end());
  if (!area.has_end_mark) kept.resize(kept.size() + kExtensionHeadBytes);
  if (version < 3 && area.feature_names) {
    const auto first = kept.begin() + (area.feature_names->data - kExtensionHeadBytes - begin);
    const uint64_t length = kExtensionHeadBytes + RoundUp(area.feature_names->length, 8);
    kept.erase(first, first + static_cast<ptrdiff_t>(length));
  }
  return kept;
}

// Where the name goes, and which bytes of it are written before the sector.
Status PlaceBackingName(HeaderBytes& bytes, const Qcow2Header& old, const ExtensionArea& area,
                        uint64_t area_end, HeaderFields& fields, VersionChange& change) {
  const bool stays = old.backing_offset >= std::max<uint64_t>(area_end, kHeaderSector);
  if (!old.backing || stays) return {};
  const std::string& name = old.backing->name;
  const std::optional<uint64_t> place = PlaceName({.cluster_size = old.cluster_size(),
                                                   .area_end = area_end,
                                                   .old_area_end = area.end,
                                                   .old_name = old.backing_offset,
                                                   .old_name_size = old.backing_size},
                                                  name.size());
  if (!place) return CannotChangeVersion(bytes, "its header has no room for the backing name");
  fields.backing_offset = *place;
  const auto raw = std::as_bytes(std::span(name));
  const uint64_t in_sector =
      *place < kHeaderSector ? std::min<uint64_t>(name.size(), kHeaderSector - *place) : 0;
  if (in_sector > 0) {
    std::ranges::copy(raw.first(in_sector), change.sector.begin() + static_cast<ptrdiff_t>(*place));
  }
  change.early_offset = *place + in_sector;
  change.early.assign(raw.begin() + static_cast<ptrdiff_t>(in_sector), raw.end());
  return {};
}

// What a reader finds before and after the sector is written.
Status RehearseVersion(HeaderBytes& bytes, const Qcow2Header& old, const ExtensionArea& area,
                       uint64_t file_size, const HeaderFields& fields,
                       const VersionChange& change) {
  const uint64_t length = std::max<uint64_t>(
      {kHeaderSector, area.end, old.backing_offset + old.backing_size,
       change.early_offset + change.early.size(), fields.backing_offset + fields.backing_size});
  CHAINFS_ASSIGN(const std::span<const std::byte> raw,
                 bytes.Get(0, std::min(length, old.cluster_size())));
  std::vector<std::byte> copy(raw.begin(), raw.end());
  std::ranges::copy(change.early, copy.begin() + static_cast<ptrdiff_t>(change.early_offset));
  const auto shows = [&](uint32_t version) {
    HeaderBytes state(copy, bytes.path());
    const Result<Qcow2Header> header = ParseQcow2Header(state, file_size);
    return header && header->version == version && header->backing == old.backing &&
           header->size == old.size && header->l1_offset == old.l1_offset &&
           header->refcount_table_offset == old.refcount_table_offset;
  };
  if (shows(old.version)) {
    std::ranges::copy(change.sector, copy.begin());
    if (shows(fields.version)) return {};
  }
  return CannotChangeVersion(bytes, "unusual header layout");
}

}  // namespace

Result<VersionChange> PlanVersionChange(File& file, uint32_t version, bool lazy_refcounts) {
  HeaderBytes bytes(file);
  CHAINFS_ASSIGN(const uint64_t file_size, file.Size());
  CHAINFS_ASSIGN(const Qcow2Header old, ParseQcow2Header(bytes, file_size));
  CHAINFS_ASSIGN(const ExtensionArea area, FindExtensions(bytes, old));
  if (old.snapshot_count != 0) {
    return CannotChangeVersion(bytes, "its internal snapshots are of this one; use qemu-img amend");
  }
  if (version < 3) CHAINFS_TRY(CheckVersion2(bytes, old));
  HeaderFields fields = old;
  fields.version = version;
  fields.header_length = version < 3 ? kHeaderBytesV2 : kHeaderBytesWritten;
  fields.compatible = version >= 3 && lazy_refcounts ? kCompatibleLazyRefcounts : 0;
  // No bitmaps, and nobody else's promises, are kept up by the change.
  fields.autoclear = 0;
  CHAINFS_ASSIGN(const std::vector<std::byte> kept, NewArea(bytes, old, area, version));
  const uint64_t area_end = fields.header_length + kept.size();
  if (area_end > kHeaderSector) {
    return CannotChangeVersion(bytes,
                               "its header extensions do not fit into the first sector; "
                               "use qemu-img amend");
  }
  VersionChange change;
  CHAINFS_TRY(PlaceBackingName(bytes, old, area, area_end, fields, change));
  EncodeHeaderFields(fields, change.sector);
  std::ranges::copy(kept, change.sector.begin() + fields.header_length);
  CHAINFS_TRY(RehearseVersion(bytes, old, area, file_size, fields, change));
  return change;
}

}  // namespace chainfs::qcow2
