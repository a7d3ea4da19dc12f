// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vhdx/file_regions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/vhdx/crc32c.h"
#include "blocklayer/formats/vhdx/guid.h"

namespace chainfs::vhdx {
namespace {

constexpr std::string_view kFileMagic = "vhdxfile";
constexpr std::array<uint64_t, 2> kHeadersAt = {64 << 10, 128 << 10};
constexpr size_t kHeaderBytes = 4096;
constexpr uint64_t kRegionTableAt = 192 << 10;
constexpr size_t kRegionTableBytes = 64 << 10;
constexpr size_t kRegionEntryBytes = 32;
constexpr uint32_t kMostRegions = 2047;
constexpr uint64_t kLeastMetadataBytes = 64 << 10;
constexpr Guid kBlockTable = GuidOf("2DC27766-F623-4200-9D64-115E9BFD4A08");
constexpr Guid kMetadata = GuidOf("8B7CA206-4790-4B9A-B8FE-575F050F886E");
constexpr Guid kNone = {};

using Bytes = std::vector<std::byte>;

std::unexpected<Error> CorruptFile(const File& file, std::string_view what) {
  return Fail(ErrorKind::kCorrupt, fmt::format("{}: {}", file.path(), what));
}

bool Begins(std::span<const std::byte> bytes, std::string_view word) {
  return std::ranges::equal(bytes.first(word.size()), std::as_bytes(std::span(word)));
}

uint64_t SequenceOf(const Bytes& header) { return LoadLittleEndian<uint64_t>(&header[8]); }

// The one of the two that was written last.
Result<Bytes> CurrentHeader(File& file) {
  std::optional<Bytes> current;
  for (const uint64_t at : kHeadersAt) {
    Bytes header(kHeaderBytes);
    CHAINFS_TRY(file.ReadZeroFilled(HostOffset(at), header));
    if (!Begins(header, "head") || !ChecksumHolds(header)) continue;
    if (current && SequenceOf(*current) == SequenceOf(header) && *current != header) {
      return CorruptFile(file, "its two headers are of one age, but differ");
    }
    if (!current || SequenceOf(header) > SequenceOf(*current)) current = std::move(header);
  }
  if (!current) return CorruptFile(file, "neither of its two headers is whole");
  return *std::move(current);
}

Result<Region> LogOf(const File& file, const Bytes& header, uint64_t file_size) {
  const auto version = LoadLittleEndian<uint16_t>(&header[66]);
  if (version != 1) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: VHDX version {} is not supported; chainfs reads version 1",
                            file.path(), version));
  }
  if (!IsGuid(std::span(header).subspan(48), kNone)) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: the VHDX log is not empty: it was not closed after it was written "
                            "last; qemu-img check -r all {} takes the log over into the image",
                            file.path(), file.path()));
  }
  const Region log{.begin = LoadLittleEndian<uint64_t>(&header[72]),
                   .length = LoadLittleEndian<uint32_t>(&header[68])};
  if (log.begin % kMiB != 0 || log.length % kMiB != 0 || log.begin > file_size ||
      (log.length > 0 && log.begin < kMiB)) {
    return CorruptFile(
        file, fmt::format("its log, {} bytes at {}, cannot be there", log.length, log.begin));
  }
  return log;
}

// Into `regions`, what the entry says.
Status AddRegion(const File& file, std::span<const std::byte> entry, uint64_t file_size,
                 FileRegions& regions) {
  const Region region{.begin = LoadLittleEndian<uint64_t>(&entry[16]),
                      .length = LoadLittleEndian<uint32_t>(&entry[24])};
  const bool required = (LoadLittleEndian<uint32_t>(&entry[28]) & 1) != 0;
  const bool is_table = IsGuid(entry, kBlockTable);
  const bool is_metadata = IsGuid(entry, kMetadata);
  if (region.begin % kMiB != 0 || region.length % kMiB != 0 || region.length == 0 ||
      region.begin < kMiB || region.begin > file_size || region.length > file_size - region.begin) {
    return CorruptFile(file, fmt::format("a region of {} bytes at {} is not possible, or the file "
                                         "was cut short",
                                         region.length, region.begin));
  }
  if (required && !is_table && !is_metadata) {
    return Fail(ErrorKind::kUnsupported,
                file.path() + ": has a region that chainfs does not know, and must");
  }
  regions.taken.push_back(region);
  Region* const known = is_table ? &regions.table : is_metadata ? &regions.metadata : nullptr;
  if (known == nullptr) return {};
  if (known->length != 0) return CorruptFile(file, "a region occurs twice");
  *known = region;
  return {};
}

Status CheckApart(const File& file, std::vector<Region>& taken) {
  std::ranges::sort(taken, {}, &Region::begin);
  for (size_t i = 1; i < taken.size(); ++i) {
    // None is longer than 4 GiB, and all begin within the file.
    if (taken[i - 1].begin + taken[i - 1].length > taken[i].begin) {
      return CorruptFile(file, fmt::format("two regions overlap at {}", taken[i].begin));
    }
  }
  return {};
}

}  // namespace

Result<FileRegions> ReadFileRegions(File& file, uint64_t file_size) {
  std::array<std::byte, 8> magic = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), magic));
  if (!Begins(magic, kFileMagic)) {
    return Fail(ErrorKind::kInvalidFormat, file.path() + ": not a VHDX image");
  }
  CHAINFS_ASSIGN(const Bytes header, CurrentHeader(file));
  CHAINFS_ASSIGN(const Region log, LogOf(file, header, file_size));
  Bytes table(kRegionTableBytes);
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(kRegionTableAt), table));
  const auto count = LoadLittleEndian<uint32_t>(&table[8]);
  if (!Begins(table, "regi") || !ChecksumHolds(table) || count > kMostRegions) {
    return CorruptFile(file, "its region table is not whole");
  }
  FileRegions regions{.table = {}, .metadata = {}, .taken = {{.begin = 0, .length = kMiB}}};
  if (log.length > 0) regions.taken.push_back(log);
  for (size_t i = 0; i < count; ++i) {
    const auto entry = std::span(table).subspan(16 + i * kRegionEntryBytes, kRegionEntryBytes);
    CHAINFS_TRY(AddRegion(file, entry, file_size, regions));
  }
  if (regions.table.length == 0 || regions.metadata.length < kLeastMetadataBytes) {
    return CorruptFile(file, "it has no block table, or no metadata");
  }
  CHAINFS_TRY(CheckApart(file, regions.taken));
  return regions;
}

bool BeginsLikeVhdx(File& file) {
  std::array<std::byte, 8> magic = {};
  const Result<size_t> read = file.ReadAt(HostOffset(0), magic);
  return read && *read == magic.size() && Begins(magic, kFileMagic);
}

}  // namespace chainfs::vhdx
