// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vpc/vpc_footer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <string>
#include <string_view>

#include "blocklayer/base/endian.h"

namespace chainfs::vpc {
namespace {

constexpr size_t kFooterBytes = 512;
constexpr size_t kFooterChecksum = 64;
constexpr size_t kDynamicBytes = 1024;
constexpr size_t kDynamicChecksum = 36;
constexpr uint32_t kFixed = 2;
constexpr uint32_t kDynamic = 3;
constexpr uint64_t kLargestGeometry = uint64_t{65535} * 16 * 255;  // sectors
constexpr uint64_t kMostSectors = 0xff000000;                      // 2040 GiB

using Footer = std::array<std::byte, kFooterBytes>;

bool Says(std::span<const std::byte> bytes, std::string_view word) {
  return std::ranges::equal(bytes.first(word.size()), std::as_bytes(std::span(word)));
}

// The complement of the sum of all bytes but those of the checksum itself.
bool ChecksumHolds(std::span<const std::byte> bytes, size_t at) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i < at || i >= at + 4) sum += std::to_integer<uint32_t>(bytes[i]);
  }
  return LoadBigEndian<uint32_t>(&bytes[at]) == ~sum;
}

uint32_t TypeOf(const Footer& footer) { return LoadBigEndian<uint32_t>(&footer[60]); }

// Virtual PC shows a disk as large as the geometry says, others what the field of the size says.
// Who made the image tells which; a geometry at its limit says nothing.
uint64_t SectorsOf(const Footer& footer) {
  const uint64_t geometry = uint64_t{LoadBigEndian<uint16_t>(&footer[56])} *
                            std::to_integer<uint64_t>(footer[58]) *
                            std::to_integer<uint64_t>(footer[59]);
  constexpr std::array<std::string_view, 4> kBySize = {"win ", "qem2", "d2v ",
                                                       std::string_view("tap\0", 4)};
  const auto creator = std::span(footer).subspan(28, 4);
  const bool by_size =
      std::ranges::any_of(kBySize, [&](std::string_view word) { return Says(creator, word); });
  if (!by_size && geometry != kLargestGeometry) return geometry;
  return LoadBigEndian<uint64_t>(&footer[48]) / kSectorBytes;
}

std::unexpected<Error> Corrupt(const File& file, const std::string& what) {
  return Fail(ErrorKind::kCorrupt, fmt::format("{}: {}", file.path(), what));
}

Result<uint64_t> SizeOf(const File& file, const Footer& footer) {
  if (!ChecksumHolds(footer, kFooterChecksum)) {
    return Corrupt(file, "the checksum of its VHD footer is wrong");
  }
  const uint64_t sectors = SectorsOf(footer);
  if (sectors > kMostSectors) {
    return Corrupt(file, fmt::format("its VHD footer says {} sectors; at most {} are possible",
                                     sectors, kMostSectors));
  }
  return sectors * kSectorBytes;
}

Result<VpcLayout> FixedLayout(const File& file, const Footer& footer, uint64_t file_size) {
  CHAINFS_ASSIGN(const uint64_t disk_size, SizeOf(file, footer));
  if (disk_size > file_size - kFooterBytes) {
    return Corrupt(file, fmt::format("the file is too short for a disk of {} bytes; it was cut "
                                     "short",
                                     disk_size));
  }
  return VpcLayout{.disk_size = disk_size, .block_size = 0, .blocks = 0, .table = {}};
}

Result<VpcLayout> DynamicLayout(File& file, const Footer& footer, uint64_t file_size) {
  CHAINFS_ASSIGN(const uint64_t disk_size, SizeOf(file, footer));
  const auto header_at = LoadBigEndian<uint64_t>(&footer[16]);
  if (header_at > file_size || kDynamicBytes > file_size - header_at) {
    return Corrupt(file,
                   fmt::format("its dynamic header, at {}, passes the end of the file", header_at));
  }
  std::array<std::byte, kDynamicBytes> header = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(header_at), header));
  if (!Says(header, "cxsparse")) return Corrupt(file, "it has no dynamic header");
  if (!ChecksumHolds(header, kDynamicChecksum)) {
    return Corrupt(file, "the checksum of its dynamic header is wrong");
  }
  const auto table = LoadBigEndian<uint64_t>(&header[16]);
  const auto blocks = LoadBigEndian<uint32_t>(&header[28]);
  const auto block_size = LoadBigEndian<uint32_t>(&header[32]);
  if (!std::has_single_bit(block_size) || block_size < kSectorBytes) {
    return Corrupt(file, fmt::format("blocks of {} bytes are not possible", block_size));
  }
  if (disk_size > uint64_t{blocks} * block_size) {
    return Corrupt(file, fmt::format("{} blocks of {} bytes do not hold a disk of {} bytes", blocks,
                                     block_size, disk_size));
  }
  if (table % 4 != 0 || table > file_size || uint64_t{blocks} * 4 > file_size - table) {
    return Corrupt(file, fmt::format("its block table, {} entries at {}, does not lie within the "
                                     "file",
                                     blocks, table));
  }
  return VpcLayout{.disk_size = disk_size,
                   .block_size = block_size,
                   .blocks = blocks,
                   .table = HostOffset(table)};
}

}  // namespace

Result<VpcLayout> ReadVpcLayout(File& file, uint64_t file_size) {
  const auto not_vhd = [&] {
    return Fail(ErrorKind::kInvalidFormat, file.path() + ": not a VHD image (no VHD footer)");
  };
  if (file_size < kFooterBytes) return not_vhd();
  Footer first = {};
  Footer last = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), first));
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(file_size - kFooterBytes), last));
  const bool begins = Says(first, "conectix");
  const bool fixed = Says(last, "conectix") && TypeOf(last) == kFixed;
  if (begins && fixed) {
    return Fail(ErrorKind::kUnsupported,
                file.path() +
                    ": it ends like a fixed VHD image, but begins like a dynamic one; the disk "
                    "that it holds may have been written to look so");
  }
  if (fixed) return FixedLayout(file, last, file_size);
  const Footer& footer = begins ? first : last;
  if (!Says(footer, "conectix")) return not_vhd();
  const uint32_t type = TypeOf(footer);
  if (begins && type == kDynamic) return DynamicLayout(file, first, file_size);
  if (type == kDynamic) return Corrupt(file, "it does not begin with a copy of its VHD footer");
  return Fail(
      ErrorKind::kUnsupported,
      fmt::format("{}: a VHD image of type {}; chainfs reads fixed (2) and dynamic (3) ones, "
                  "a differencing one (4) must be merged into its parent first",
                  file.path(), type));
}

bool BeginsLikeVpc(File& file) {
  std::array<std::byte, 8> magic = {};
  const Result<size_t> read = file.ReadAt(HostOffset(0), magic);
  return read && *read == magic.size() && Says(magic, "conectix");
}

}  // namespace chainfs::vpc
