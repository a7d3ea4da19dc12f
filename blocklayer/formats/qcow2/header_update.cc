// SPDX-License-Identifier: Apache-2.0
//
// A change of the backing file is planned on a copy of the header, the states that a crash can
// leave are parsed again as a reader would, and only then is anything written.
//
// Terms: the *area* is the extensions with their end mark; the *early* bytes are the part of a new
// name that lies behind the first sector and is written before it. Early bytes may lie only where
// the old header has nothing: behind its area, and not in the old name.
#include "blocklayer/formats/qcow2/header_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header_extensions.h"
#include "blocklayer/formats/qcow2/header_layout.h"
#include "blocklayer/formats/qcow2/snapshot_list.h"

namespace chainfs::qcow2 {
namespace {

struct Plan {
  bool nothing_to_do = false;
  std::array<std::byte, kHeaderSector> sector = {};
  uint64_t early_offset = 0;
  std::vector<std::byte> early;
  uint64_t name_offset = 0;
  uint32_t name_size = 0;
};

std::unexpected<Error> NotAtomic(const HeaderBytes& bytes, std::string_view why) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: the backing file cannot be changed in one atomic write ({}); use "
                          "qemu-img rebase -u -F while the image is not in use",
                          bytes.path(), why));
}

// The header as it is, and where its parts lie.
struct Current {
  Qcow2Header header;
  ExtensionArea area;
  std::string format;  // of the extension, whether or not there is a backing file; may be empty
  uint64_t file_size = 0;
};

Result<Current> ReadCurrent(File& file, HeaderBytes& bytes) {
  Current current;
  CHAINFS_ASSIGN(current.file_size, file.Size());
  CHAINFS_ASSIGN(current.header, ParseQcow2Header(bytes, current.file_size));
  CHAINFS_ASSIGN(current.area, FindExtensions(bytes, current.header));
  if (const auto& extension = current.area.backing_format) {
    CHAINFS_ASSIGN(const std::span<const std::byte> raw,
                   bytes.Get(extension->data, extension->length));
    for (const std::byte b : raw) current.format += static_cast<char>(b);
  }
  return current;
}

// Removes entries from the end of the feature name table so that `area` shrinks to `room` bytes, as
// far as it can.
void TrimFeatureNames(std::vector<std::byte>& area, size_t table_head, size_t room) {
  const auto length = LoadBigEndian<uint32_t>(area.data() + table_head + 4);
  const uint64_t excess = area.size() - room;
  const uint64_t drop = DivRoundUp(excess, kFeatureNameBytes) * kFeatureNameBytes;
  if (drop > length || length % kFeatureNameBytes != 0) return;
  const auto data = area.begin() + static_cast<ptrdiff_t>(table_head + kExtensionHeadBytes);
  area.erase(data + static_cast<ptrdiff_t>(length - drop), data + length);
  StoreBigEndian(area.data() + table_head + 4, static_cast<uint32_t>(length - drop));
}

// Builds the area anew with another backing format (empty: none) and puts it into the sector, all
// of which one write replaces. Returns the end of the area.
Result<uint64_t> RebuildArea(HeaderBytes& bytes, const Current& current, std::string_view format,
                             Plan& plan) {
  const uint64_t begin = current.header.header_length;
  const ExtensionArea& old = current.area;
  if (old.end > kHeaderSector) {
    return NotAtomic(bytes,
                     fmt::format("its header extensions pass the first {} bytes", kHeaderSector));
  }
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(begin, old.end - begin));
  std::vector<std::byte> area(raw.begin(), raw.end());
  if (!old.has_end_mark) area.resize(area.size() + kExtensionHeadBytes);
  // Where the format extension is to be: in its old place, or in front of all others.
  size_t at = 0;
  size_t replaced = 0;
  if (old.backing_format) {
    at = old.backing_format->data - kExtensionHeadBytes - begin;
    replaced = kExtensionHeadBytes + RoundUp(old.backing_format->length, 8);
  }
  const std::vector<std::byte> extension = BackingFormatExtension(format);
  const auto place = area.begin() + static_cast<ptrdiff_t>(at);
  area.erase(place, place + static_cast<ptrdiff_t>(replaced));
  area.insert(area.begin() + static_cast<ptrdiff_t>(at), extension.begin(), extension.end());
  const size_t room = kHeaderSector - begin;
  if (area.size() > room && old.feature_names) {
    size_t table = old.feature_names->data - kExtensionHeadBytes - begin;
    if (table >= at) table += extension.size() - replaced;
    TrimFeatureNames(area, table, room);
  }
  if (area.size() > room) {
    return NotAtomic(bytes, fmt::format("its header extensions leave no room for the format "
                                        "within the first {} bytes",
                                        kHeaderSector));
  }
  std::ranges::fill(std::span(plan.sector).subspan(begin, old.end - begin), std::byte{0});
  std::ranges::copy(area, plan.sector.begin() + static_cast<ptrdiff_t>(begin));
  return begin + area.size();
}

// Brings the format into the sector and returns the end of the area, end mark included.
Result<uint64_t> PlanFormat(HeaderBytes& bytes, const Current& current, std::string_view format,
                            Plan& plan) {
  const auto& extension = current.area.backing_format;
  const bool same = format == current.format;
  if (same && current.area.has_end_mark) return current.area.end;
  const bool same_room = extension && !format.empty() &&
                         RoundUp(extension->length, 8) == RoundUp(format.size(), 8) &&
                         extension->data + RoundUp(format.size(), 8) <= kHeaderSector;
  if (same_room && current.area.has_end_mark) {
    const std::vector<std::byte> bytes_of = BackingFormatExtension(format);
    std::ranges::copy(bytes_of, plan.sector.begin() +
                                    static_cast<ptrdiff_t>(extension->data - kExtensionHeadBytes));
    return current.area.end;
  }
  return RebuildArea(bytes, current, format, plan);
}

// Finds the place of the name and divides it between the sector and the early bytes.
Status PlanName(HeaderBytes& bytes, const Current& current, std::string_view name,
                uint64_t area_end, Plan& plan) {
  const Qcow2Header& old = current.header;
  plan.name_size = static_cast<uint32_t>(name.size());
  const bool kept = old.backing && old.backing->name == name && old.backing_offset >= area_end;
  if (kept) {
    plan.name_offset = old.backing_offset;
  } else {
    const NamePlaces places{
        .cluster_size = old.cluster_size(),
        .area_end = area_end,
        .old_area_end = current.area.end,
        .old_name = old.backing_offset,
        .old_name_size = old.backing_offset != 0 ? old.backing_size : 0,
    };
    const std::optional<uint64_t> place = PlaceName(places, name.size());
    if (!place) {
      const uint64_t room = old.cluster_size() - area_end;
      if (name.size() <= room) return NotAtomic(bytes, "no room for the new name beside the old");
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("{}: the backing file name has {} bytes, but the image's first "
                              "cluster has room for {} only",
                              bytes.path(), name.size(), room));
    }
    plan.name_offset = *place;
    const uint64_t in_sector =
        *place < kHeaderSector ? std::min<uint64_t>(name.size(), kHeaderSector - *place) : 0;
    const auto raw = std::as_bytes(std::span(name));
    std::ranges::copy(raw.first(in_sector),
                      plan.sector.begin() + static_cast<ptrdiff_t>(in_sector > 0 ? *place : 0));
    plan.early_offset = *place + in_sector;
    plan.early.assign(raw.begin() + static_cast<ptrdiff_t>(in_sector), raw.end());
  }
  PutBackingName(plan.sector, plan.name_offset, plan.name_size);
  return {};
}

Status PlanRemoval(HeaderBytes& bytes, const Current& current, Plan& plan) {
  PutBackingName(plan.sector, 0, 0);
  if (current.area.has_end_mark) return {};
  // The name was what ended the extensions.
  const uint64_t end = current.area.end;
  if (end + kExtensionHeadBytes > kHeaderSector) {
    return NotAtomic(bytes, "its header extensions have no end mark");
  }
  std::ranges::fill(std::span(plan.sector).subspan(end, kExtensionHeadBytes), std::byte{0});
  return {};
}

// What a reader finds when the crash comes before and after the sector is written.
Status Rehearse(HeaderBytes& bytes, const Current& current,
                const std::optional<BackingReference>& backing, const Plan& plan) {
  const uint64_t length = std::max<uint64_t>(
      {kHeaderSector, current.area.end, current.header.backing_offset + current.header.backing_size,
       plan.early_offset + plan.early.size(), plan.name_offset + plan.name_size});
  CHAINFS_ASSIGN(const std::span<const std::byte> raw,
                 bytes.Get(0, std::min(length, current.header.cluster_size())));
  std::vector<std::byte> copy(raw.begin(), raw.end());
  std::ranges::copy(plan.early, copy.begin() + static_cast<ptrdiff_t>(plan.early_offset));
  const auto shows = [&](const std::optional<BackingReference>& expected) {
    HeaderBytes state(copy, bytes.path());
    const Result<Qcow2Header> header = ParseQcow2Header(state, current.file_size);
    return header && header->backing == expected;
  };
  if (!shows(current.header.backing)) return NotAtomic(bytes, "unusual header layout");
  std::ranges::copy(plan.sector, copy.begin());
  if (!shows(backing)) return NotAtomic(bytes, "unusual header layout");
  return {};
}

// What they leave unallocated, the backing file shows, and nobody looks at them when it is changed.
Status CheckSnapshots(File& file, const Qcow2Header& header) {
  if (header.snapshot_count == 0) return {};
  CHAINFS_ASSIGN(const SnapshotList list, SnapshotList::Read(file, header));
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: its backing file cannot change: {} may need it; delete them with "
                          "qemu-img snapshot -d while it is not mounted",
                          file.path(), list.shown().Describe()));
}

Result<Plan> PlanBacking(File& file, const std::optional<BackingReference>& backing) {
  if (backing) CHAINFS_TRY(CheckBackingReference(*backing, file.path()));
  HeaderBytes bytes(file);
  CHAINFS_ASSIGN(const Current current, ReadCurrent(file, bytes));
  Plan plan;
  plan.name_offset = current.header.backing_offset;
  plan.name_size = current.header.backing_size;
  if (current.header.backing == backing) {
    plan.nothing_to_do = true;
    return plan;
  }
  CHAINFS_TRY(CheckSnapshots(file, current.header));
  CHAINFS_ASSIGN(const std::span<const std::byte> raw, bytes.Get(0, kHeaderSector));
  std::ranges::copy(raw, plan.sector.begin());
  if (backing) {
    CHAINFS_ASSIGN(const uint64_t area_end,
                   PlanFormat(bytes, current, backing->format.value_or(""), plan));
    CHAINFS_TRY(PlanName(bytes, current, backing->name, area_end, plan));
  } else {
    CHAINFS_TRY(PlanRemoval(bytes, current, plan));
    plan.name_offset = 0;
    plan.name_size = 0;
  }
  CHAINFS_TRY(Rehearse(bytes, current, backing, plan));
  return plan;
}

}  // namespace

Status UpdateFirstSector(File& file, const std::function<void(HeaderSector)>& change) {
  if (file.poisoned()) {
    return Fail(ErrorKind::kIo,
                fmt::format("{}: the header is not changed any more: an earlier flush of the file "
                            "failed",
                            file.path()));
  }
  std::array<std::byte, kHeaderSector> sector;
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), sector));
  change(sector);
  return file.WriteAt(HostOffset(0), sector);
}

Status CanSetBacking(File& file, const Qcow2Header& /*header*/,
                     const std::optional<BackingReference>& backing) {
  CHAINFS_TRY(PlanBacking(file, backing));
  return {};
}

Status SetBackingInHeader(File& file, Qcow2Header& header,
                          const std::optional<BackingReference>& backing) {
  CHAINFS_ASSIGN(const Plan plan, PlanBacking(file, backing));
  if (!plan.nothing_to_do) {
    if (!plan.early.empty()) {
      CHAINFS_TRY(file.WriteAt(HostOffset(plan.early_offset), plan.early));
      CHAINFS_TRY(file.DataSync());
    }
    CHAINFS_TRY(UpdateFirstSector(
        file, [&](HeaderSector sector) { std::ranges::copy(plan.sector, sector.begin()); }));
  }
  CHAINFS_TRY(file.DataSync());
  header.backing = backing;
  header.backing_offset = plan.name_offset;
  header.backing_size = plan.name_size;
  return {};
}

Status WriteFeatureBits(File& file, Qcow2Header& header, uint64_t incompatible,
                        uint64_t autoclear) {
  if (header.version < 3) {
    if (incompatible == 0 && autoclear == 0) return {};
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: a version 2 image has no feature bits", file.path()));
  }
  CHAINFS_TRY(UpdateFirstSector(file, [&](HeaderSector sector) {
    PutIncompatibleFeatures(sector, incompatible);
    PutAutoclearFeatures(sector, autoclear);
  }));
  header.incompatible = incompatible;
  header.autoclear = autoclear;
  return {};
}

}  // namespace chainfs::qcow2
