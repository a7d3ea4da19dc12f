// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vhdx/disk_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/vhdx/guid.h"

namespace chainfs::vhdx {
namespace {

constexpr size_t kTableBytes = 64 << 10;
constexpr size_t kEntryBytes = 32;
constexpr uint16_t kMostItems = 2047;
constexpr std::string_view kMagic = "metadata";
constexpr uint32_t kRequired = 1 << 2;
constexpr uint32_t kHasParent = 1 << 1;
constexpr uint32_t kSector = 512;
constexpr uint32_t kLargestBlock = 256 << 20;
constexpr uint64_t kLargestDisk = uint64_t{64} << 40;

struct Item {
  Guid guid;
  uint32_t bytes;
  std::string_view name;
};
enum ItemIndex : size_t { kFileParameters, kDiskSize, kDiskId, kLogicalSector, kPhysicalSector };
constexpr std::array<Item, 5> kItems = {
    Item{GuidOf("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"), 8, "file parameters"},
    Item{GuidOf("2FA54224-CD1B-4876-B211-5DBED83BF4B8"), 8, "size of the disk"},
    Item{GuidOf("BECA12AB-B2E6-4523-93EF-C309E000C746"), 16, "identity of the disk"},
    Item{GuidOf("8141BF1D-A96F-4709-BA47-F233A8FAAB5F"), 4, "logical sector size"},
    Item{GuidOf("CDA348C7-445D-4471-9CC9-E9885251C556"), 4, "physical sector size"}};

std::unexpected<Error> CorruptItem(const File& file, std::string_view what) {
  return Fail(ErrorKind::kCorrupt, fmt::format("{}: {}", file.path(), what));
}

// Where the items lie, counted from the beginning of the region; nothing for those missing.
using Places = std::array<std::optional<uint32_t>, kItems.size()>;

Result<Places> FindItems(File& file, const Region& metadata) {
  std::vector<std::byte> table(kTableBytes);
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(metadata.begin), table));
  const auto count = LoadLittleEndian<uint16_t>(&table[10]);
  const bool begins =
      std::ranges::equal(std::span(table).first(kMagic.size()), std::as_bytes(std::span(kMagic)));
  if (!begins || count > kMostItems) return CorruptItem(file, "its metadata table is not whole");
  Places places;
  for (size_t i = 0; i < count; ++i) {
    const auto entry = std::span(table).subspan((i + 1) * kEntryBytes, kEntryBytes);
    const auto at = LoadLittleEndian<uint32_t>(&entry[16]);
    const auto bytes = LoadLittleEndian<uint32_t>(&entry[20]);
    const auto item =
        std::ranges::find_if(kItems, [&](const Item& known) { return IsGuid(entry, known.guid); });
    if (item == kItems.end()) {
      if ((LoadLittleEndian<uint32_t>(&entry[24]) & kRequired) == 0) continue;
      return Fail(ErrorKind::kUnsupported,
                  file.path() +
                      ": a differencing VHDX image, or one with metadata that chainfs does "
                      "not know, and must");
    }
    std::optional<uint32_t>& place = places[static_cast<size_t>(item - kItems.begin())];
    if (place || bytes != item->bytes || at < kTableBytes || at > metadata.length - bytes) {
      return CorruptItem(file, fmt::format("its metadata are corrupt: {}", item->name));
    }
    place = at;
  }
  return places;
}

}  // namespace

Result<DiskParameters> ReadDiskParameters(File& file, const Region& metadata) {
  CHAINFS_ASSIGN(const Places places, FindItems(file, metadata));
  std::array<std::array<std::byte, 16>, kItems.size()> values = {};
  for (size_t i = 0; i < kItems.size(); ++i) {
    if (!places[i]) return CorruptItem(file, fmt::format("it has no {}", kItems[i].name));
    CHAINFS_TRY(file.ReadZeroFilled(HostOffset(metadata.begin + *places[i]),
                                    std::span(values[i]).first(kItems[i].bytes)));
  }
  const auto word = [&](ItemIndex item, size_t at) {
    return LoadLittleEndian<uint32_t>(&values[item][at]);
  };
  if ((word(kFileParameters, 4) & kHasParent) != 0) {
    return Fail(ErrorKind::kUnsupported,
                file.path() + ": a differencing VHDX image; merge it into its parent first");
  }
  if (word(kLogicalSector, 0) != kSector) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: a disk with sectors of {} bytes; chainfs reads those with {}",
                            file.path(), word(kLogicalSector, 0), kSector));
  }
  const DiskParameters disk{.disk_size = LoadLittleEndian<uint64_t>(values[kDiskSize].data()),
                            .block_size = word(kFileParameters, 0)};
  if (!std::has_single_bit(disk.block_size) || disk.block_size < kMiB ||
      disk.block_size > kLargestBlock || disk.disk_size > kLargestDisk ||
      disk.disk_size % kSector != 0) {
    return CorruptItem(file, fmt::format("a disk of {} bytes in blocks of {} is not possible",
                                         disk.disk_size, disk.block_size));
  }
  const uint32_t physical = word(kPhysicalSector, 0);
  if (physical != kSector && physical != 4096) {
    return CorruptItem(file,
                       fmt::format("physical sectors of {} bytes are not possible", physical));
  }
  return disk;
}

}  // namespace chainfs::vhdx
