// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vmdk/sparse_extent.h"

#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/vmdk/descriptor.h"

namespace chainfs::vmdk {
namespace {

// A table entry with this value is a grain of zeros, in files whose header says so.
constexpr uint32_t kZeroGrain = 1;
// Before a compressed grain: its first sector on the disk (8 bytes), its length (4).
constexpr uint32_t kMarkerBytes = 12;
constexpr size_t kMarkerLength = 8;

struct FreeDecoder {
  void operator()(libdeflate_decompressor* decoder) const { libdeflate_free_decompressor(decoder); }
};

// Decodes a zlib stream, whatever follows it, into the beginning of `out`; how much that is.
Result<size_t> InflateGrain(std::span<const std::byte> bytes, std::span<std::byte> out) {
  thread_local std::unique_ptr<libdeflate_decompressor, FreeDecoder> decoder;
  if (decoder == nullptr) decoder.reset(libdeflate_alloc_decompressor());
  if (decoder == nullptr) {
    return Fail(ErrorKind::kNoMemory, "not enough memory for a decompressor");
  }
  size_t used = 0;
  size_t written = 0;
  const libdeflate_result result = libdeflate_zlib_decompress_ex(
      decoder.get(), bytes.data(), bytes.size(), out.data(), out.size(), &used, &written);
  if (result == LIBDEFLATE_SUCCESS) return written;
  return Fail(ErrorKind::kCorrupt, "it is no zlib stream of at most a grain");
}

}  // namespace

SparseExtent::SparseExtent(MetadataCache& cache, uint64_t owner, File& file, uint16_t source,
                           const SparseHeader& header, uint64_t file_size)
    : tables_(cache, owner, file),
      file_(file),
      source_(source),
      header_(header),
      file_size_(file_size) {}

std::unexpected<Error> SparseExtent::PastTheEnd(std::string_view what, uint64_t sector) const {
  return Fail(
      ErrorKind::kCorrupt,
      fmt::format("{}: a {}, at sector {}, passes the end of the file; it was cut short, or "
                  "its tables are corrupt",
                  file_.path(), what, sector));
}

Result<Extent> SparseExtent::Map(uint64_t offset, uint64_t length) {
  const uint64_t grain = offset / header_.grain_bytes;
  const uint64_t within = offset % header_.grain_bytes;
  length = std::min(length, header_.grain_bytes - within);
  CHAINFS_ASSIGN(const uint32_t table,
                 tables_.LoadLittle<uint32_t>(header_.directory + grain / kTableEntries * 4));
  if (table == 0) return Extent{.length = length};
  const uint64_t table_at = table * kSectorBytes;
  if (table_at + uint64_t{kTableEntries} * 4 > file_size_) return PastTheEnd("grain table", table);
  CHAINFS_ASSIGN(const uint32_t entry,
                 tables_.LoadLittle<uint32_t>(HostOffset(table_at + grain % kTableEntries * 4)));
  if (entry == 0) return Extent{.length = length};
  if (header_.zero_grains && entry == kZeroGrain) {
    return Extent{.kind = ExtentKind::kZero, .length = length};
  }
  const uint64_t at = entry * kSectorBytes;
  if (header_.compressed) {
    if (at + kMarkerBytes >= file_size_) return PastTheEnd("grain", entry);
    // QEMU reads as much at most.
    const uint64_t most = std::min(file_size_ - at, kMarkerBytes + 2 * header_.grain_bytes);
    return Extent{.kind = ExtentKind::kCompressed,
                  .length = length,
                  .host = HostOffset(at),
                  .compressed_bytes = static_cast<uint32_t>(most),
                  .source = source_};
  }
  const uint64_t used = std::min(header_.grain_bytes, header_.capacity - (offset - within));
  if (at + used > file_size_) return PastTheEnd("grain", entry);
  return Extent{.kind = ExtentKind::kData,
                .length = length,
                .host = HostOffset(at + within),
                .source = source_};
}

Status SparseExtent::ReadGrain(const Extent& extent, std::span<std::byte> out) {
  uint64_t at = extent.host.value;
  uint64_t length = extent.compressed_bytes;
  if (header_.markers) {
    std::array<std::byte, kMarkerBytes> marker = {};
    CHAINFS_TRY(file_.ReadZeroFilled(extent.host, marker));
    const auto said = LoadLittleEndian<uint32_t>(&marker[kMarkerLength]);
    if (said == 0 || said > length - kMarkerBytes) {
      return Fail(ErrorKind::kCorrupt,
                  fmt::format("{}: the compressed grain at {} says that it has {} bytes",
                              file_.path(), at, said));
    }
    at += kMarkerBytes;
    length = said;
  }
  std::vector<std::byte> bytes(length);
  CHAINFS_TRY(file_.ReadZeroFilled(HostOffset(at), bytes));
  const auto inflated = InflateGrain(bytes, out);
  if (!inflated) {
    return std::unexpected(WithContext(
        inflated.error(), fmt::format("{}: the compressed grain at {}", file_.path(), at)));
  }
  if (*inflated == out.size()) return {};
  CHAINFS_ASSIGN(const bool ends_there, IsLastGrain(extent, *inflated));
  if (!ends_there) {
    return Fail(ErrorKind::kCorrupt, fmt::format("{}: the compressed grain at {} has {} bytes only",
                                                 file_.path(), at, *inflated));
  }
  std::ranges::fill(out.subspan(*inflated), std::byte{});
  return {};
}

// qemu-img writes the last grain no longer than the disk.
Result<bool> SparseExtent::IsLastGrain(const Extent& extent, uint64_t bytes) {
  const uint64_t last = (header_.capacity - 1) / header_.grain_bytes * header_.grain_bytes;
  if (bytes < header_.capacity - last) return false;
  CHAINFS_ASSIGN(const Extent there, Map(last, 1));
  return there.kind == ExtentKind::kCompressed && there.host == extent.host;
}

}  // namespace chainfs::vmdk
