// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vmdk/sparse_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <span>
#include <string_view>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/vmdk/descriptor.h"

namespace chainfs::vmdk {
namespace {

constexpr size_t kHeaderBytes = 512;
constexpr std::string_view kMagic = "KDMV";
constexpr std::string_view kLineEnds = "\n \r\n";
constexpr uint32_t kNewestVersion = 3;
constexpr uint32_t kFlagLineEnds = 1 << 0;
constexpr uint32_t kFlagZeroGrains = 1 << 2;
constexpr uint32_t kFlagCompressed = 1 << 16;
constexpr uint32_t kFlagMarkers = 1 << 17;
constexpr uint16_t kDeflate = 1;
constexpr uint64_t kDirectoryAtEnd = UINT64_MAX;
constexpr uint64_t kMostGrainSectors = 0x200000;
constexpr uint64_t kMostHeaderSectors = uint64_t{1} << 54;
// Behind the grains of a stream: a marker, the header with the place of the directory, a marker.
constexpr uint64_t kFooterBytes = 3 * kSectorBytes;
constexpr uint32_t kMarkerFooter = 3;

using Header = std::array<std::byte, kHeaderBytes>;

uint32_t Word(const Header& header, size_t at) { return LoadLittleEndian<uint32_t>(&header[at]); }
uint64_t Long(const Header& header, size_t at) { return LoadLittleEndian<uint64_t>(&header[at]); }

std::unexpected<Error> CorruptSparse(const File& file, std::string_view what) {
  return Fail(ErrorKind::kCorrupt, fmt::format("{}: {}", file.path(), what));
}

bool HasText(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() >= text.size() &&
         std::ranges::equal(bytes.first(text.size()), std::as_bytes(std::span(text)));
}

Status ReadFooter(File& file, uint64_t file_size, Header& header) {
  if (file_size < kHeaderBytes + kFooterBytes) {
    return CorruptSparse(file, "the file ends before its footer; it was cut short");
  }
  std::array<std::byte, kFooterBytes> end = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(file_size - kFooterBytes), end));
  const bool marked = LoadLittleEndian<uint32_t>(&end[8]) == 0 &&
                      LoadLittleEndian<uint32_t>(&end[12]) == kMarkerFooter;
  const auto last = std::span(end).last(kSectorBytes).first(16);
  const bool ended = std::ranges::all_of(last, [](std::byte b) { return b == std::byte{}; });
  if (!marked || !ended || !IsSparseVmdk(std::span(end).subspan(kSectorBytes))) {
    return CorruptSparse(file, "its footer is not where it belongs; it was cut short");
  }
  std::copy_n(end.begin() + kSectorBytes, header.size(), header.begin());
  if (Long(header, 56) == kDirectoryAtEnd) {
    return CorruptSparse(file, "its footer does not tell where its grain directory is");
  }
  return {};
}

Status CheckFields(const File& file, const Header& header, uint64_t file_size) {
  const uint32_t version = Word(header, 4);
  if (version == 0 || version > kNewestVersion) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: VMDK version {} is not supported; chainfs reads versions 1 to {}",
                            file.path(), version, kNewestVersion));
  }
  const uint32_t flags = Word(header, 8);
  if ((flags & kFlagLineEnds) != 0 && !HasText(std::span(header).subspan(73), kLineEnds)) {
    return CorruptSparse(file, "its line ends were changed; it was copied as a text");
  }
  const auto method = LoadLittleEndian<uint16_t>(&header[77]);
  if (method > kDeflate || (method == kDeflate) != ((flags & kFlagCompressed) != 0)) {
    return CorruptSparse(
        file, fmt::format("its compression method is {}, its flags are {:#x}", method, flags));
  }
  const uint64_t grain = Long(header, 20);
  if (!std::has_single_bit(grain) || grain > kMostGrainSectors) {
    return CorruptSparse(file, fmt::format("grains of {} sectors are not possible", grain));
  }
  if (Word(header, 44) != kTableEntries) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: its grain tables have {} entries; chainfs reads those with {}",
                            file.path(), Word(header, 44), kTableEntries));
  }
  const uint64_t capacity = Long(header, 12);
  if (capacity == 0 || capacity >= kMostHeaderSectors) {
    return CorruptSparse(file, fmt::format("a disk of {} sectors is not possible", capacity));
  }
  const uint64_t tables = DivRoundUp(capacity, grain * kTableEntries);
  const uint64_t directory = Long(header, 56);
  const uint64_t overhead = Long(header, 64);
  const uint64_t sectors = file_size / kSectorBytes;
  if (directory == 0 || directory > sectors || tables * 4 > file_size - directory * kSectorBytes ||
      overhead > sectors) {
    return CorruptSparse(file, fmt::format("its grain directory, {} entries at sector {}, does not "
                                           "lie within the file; it was cut short",
                                           tables, directory));
  }
  return {};
}

Result<std::string> EmbeddedDescriptor(File& file, const Header& header, uint64_t file_size) {
  const uint64_t at = Long(header, 28);
  const uint64_t sectors = Long(header, 36);
  if (at == 0 || sectors == 0) return std::string();
  if (at > file_size / kSectorBytes || sectors > kMostDescriptorBytes / kSectorBytes) {
    return CorruptSparse(file, fmt::format("its descriptor, {} sectors at sector {}, is too long, "
                                           "or does not lie within the file",
                                           sectors, at));
  }
  std::string text(sectors * kSectorBytes, '\0');
  CHAINFS_TRY(
      file.ReadZeroFilled(HostOffset(at * kSectorBytes), std::as_writable_bytes(std::span(text))));
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

}  // namespace

bool IsSparseVmdk(std::span<const std::byte> begin) { return HasText(begin, kMagic); }

Result<SparseHeader> ReadSparseHeader(File& file, uint64_t file_size) {
  Header header = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), header));
  if (!IsSparseVmdk(header)) {
    return Fail(ErrorKind::kInvalidFormat, file.path() + ": not a sparse VMDK file");
  }
  // That of the first header: the footer is written by whoever only appends.
  CHAINFS_ASSIGN(std::string descriptor, EmbeddedDescriptor(file, header, file_size));
  if (Long(header, 56) == kDirectoryAtEnd) CHAINFS_TRY(ReadFooter(file, file_size, header));
  CHAINFS_TRY(CheckFields(file, header, file_size));
  const uint32_t flags = Word(header, 8);
  return SparseHeader{.capacity = Long(header, 12) * kSectorBytes,
                      .grain_bytes = Long(header, 20) * kSectorBytes,
                      .directory = HostOffset(Long(header, 56) * kSectorBytes),
                      .zero_grains = (flags & kFlagZeroGrains) != 0,
                      .compressed = (flags & kFlagCompressed) != 0,
                      .markers = (flags & kFlagMarkers) != 0,
                      .descriptor = std::move(descriptor)};
}

}  // namespace chainfs::vmdk
