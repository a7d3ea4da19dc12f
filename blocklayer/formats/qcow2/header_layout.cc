// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/types.h"
#include "blocklayer/formats/qcow2/header.h"

namespace chainfs::qcow2 {
namespace {

bool LooksLikeProtocol(std::string_view name) {
  const size_t colon = name.find(':');
  return colon != std::string_view::npos && colon < name.find('/');
}

}  // namespace

Status CheckBackingReference(const BackingReference& backing, std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: {}", path, why));
  };
  if (backing.name.empty()) return refuse("the backing file name is empty");
  if (backing.name.size() > kMaxBackingNameBytes) {
    return refuse(fmt::format("the backing file name has {} bytes; a qcow2 header holds at most {}",
                              backing.name.size(), kMaxBackingNameBytes));
  }
  if (backing.name.contains('\0')) return refuse("the backing file name contains a NUL byte");
  if (LooksLikeProtocol(backing.name)) {
    return refuse("the backing file name would be read as a protocol; put ./ in front");
  }
  if (!backing.format) return {};
  if (backing.format->empty() || backing.format->size() > kMaxBackingFormatBytes ||
      backing.format->contains('\0')) {
    return refuse(
        fmt::format("the backing format must be 1 to {} characters", kMaxBackingFormatBytes));
  }
  return {};
}

std::vector<std::byte> BackingFormatExtension(std::string_view format) {
  if (format.empty()) return {};
  std::vector<std::byte> bytes(8 + RoundUp(format.size(), 8));
  StoreBigEndian(bytes.data(), kExtensionBackingFormat);
  StoreBigEndian(bytes.data() + 4, static_cast<uint32_t>(format.size()));
  std::memcpy(bytes.data() + 8, format.data(), format.size());
  return bytes;
}

std::optional<uint64_t> PlaceName(const NamePlaces& places, uint64_t size) {
  const auto fits = [&](uint64_t place) {
    const uint64_t end = place + size;
    if (place < places.area_end || end > places.cluster_size) return false;
    const uint64_t early = std::max<uint64_t>(place, kHeaderSector);
    if (end <= early) return true;  // one write does it all
    const uint64_t old_end = places.old_name + places.old_name_size;
    const bool meets_name = places.old_name_size > 0 && early < old_end && places.old_name < end;
    return early >= places.old_area_end && !meets_name;
  };
  const uint64_t after_area = RoundUp(places.area_end, 8);
  if (after_area + size <= kHeaderSector && fits(after_area)) return after_area;
  const uint64_t behind_sector =
      RoundUp(std::max<uint64_t>({places.area_end, places.old_area_end, kHeaderSector}), 8);
  const uint64_t behind_name = RoundUp(places.old_name + places.old_name_size, 8);
  for (const uint64_t place : {behind_sector, std::max(behind_sector, behind_name), after_area}) {
    if (fits(place)) return place;
  }
  return std::nullopt;
}

}  // namespace chainfs::qcow2
