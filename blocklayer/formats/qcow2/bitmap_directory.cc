// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kDirectoryEntryBytes = 24;  // before extra data and name
constexpr uint64_t kMaxBitmapTablePlace = INT64_MAX;
// Of all bitmaps together: 32 MiB of tables, bits for petabytes.
constexpr uint64_t kMaxTableEntries = 4ull << 20;

// The bytes of a directory, a window at a time.
class DirectoryWindow {
 public:
  DirectoryWindow(File& file, HostOffset directory, uint64_t bytes)
      : file_(file), directory_(directory), bytes_(bytes) {}

  // Within the directory; valid until the next call.
  Result<std::span<const std::byte>> Get(uint64_t offset, uint64_t length) {
    constexpr uint64_t kWindow = 256 << 10;
    if (offset < begin_ || offset + length > begin_ + window_.size()) {
      begin_ = offset;
      window_.resize(std::min(bytes_ - offset, std::max(length, kWindow)));
      CHAINFS_TRY(file_.ReadZeroFilled(directory_ + begin_, window_));
    }
    return std::span<const std::byte>(window_).subspan(offset - begin_, length);
  }

 private:
  File& file_;
  const HostOffset directory_;
  const uint64_t bytes_;
  uint64_t begin_ = 0;
  std::vector<std::byte> window_;
};

uint64_t DirectoryEntryBytes(uint64_t extra, uint64_t name) {
  return RoundUp(kDirectoryEntryBytes + extra + name, 8);
}

StoredBitmap DecodeDirectoryEntry(std::span<const std::byte> raw) {
  StoredBitmap bitmap;
  bitmap.table = HostOffset(LoadBigEndian<uint64_t>(raw.data()));
  bitmap.table_entries = LoadBigEndian<uint32_t>(raw.data() + 8);
  bitmap.flags = LoadBigEndian<uint32_t>(raw.data() + kBitmapFlagsAt);
  bitmap.type = static_cast<uint8_t>(raw[16]);
  bitmap.granularity_bits = static_cast<uint8_t>(raw[17]);
  return bitmap;
}

}  // namespace

Result<std::vector<StoredBitmap>> ReadBitmapDirectory(File& file, const Qcow2Header& header) {
  std::vector<StoredBitmap> bitmaps;
  if (!header.has_bitmaps) return bitmaps;
  const uint64_t bytes = header.bitmap_directory_bytes;
  const auto broken = [&](std::string_view what) {
    return Fail(ErrorKind::kCorrupt, fmt::format("{}: its bitmap directory is broken: entry {} {}",
                                                 file.path(), bitmaps.size(), what));
  };
  DirectoryWindow window(file, header.bitmap_directory, bytes);
  uint64_t at = 0;
  uint64_t table_entries = 0;
  for (uint32_t i = 0; i < header.bitmap_count; ++i) {
    if (bytes - at < kDirectoryEntryBytes) return broken("is missing");
    CHAINFS_ASSIGN(const std::span<const std::byte> fixed, window.Get(at, kDirectoryEntryBytes));
    StoredBitmap bitmap = DecodeDirectoryEntry(fixed);
    const uint64_t name_bytes = LoadBigEndian<uint16_t>(fixed.data() + 18);
    const uint64_t extra_bytes = LoadBigEndian<uint32_t>(fixed.data() + 20);
    if (name_bytes == 0 || name_bytes > kMaxBitmapNameBytes) {
      return broken(fmt::format("has a name of {} bytes", name_bytes));
    }
    if (DirectoryEntryBytes(extra_bytes, name_bytes) > bytes - at) return broken("passes its end");
    const uint64_t table_bytes = uint64_t{bitmap.table_entries} * 8;
    if (bitmap.table_entries == 0 || table_bytes / 8 > kMaxBitmapBytes >> header.cluster_bits ||
        bitmap.table.Within(header.cluster_size()) != 0 ||
        bitmap.table.value < header.cluster_size() ||
        bitmap.table.value > kMaxBitmapTablePlace - table_bytes) {
      return broken(fmt::format("puts a table of {} entries at {:#x}", bitmap.table_entries,
                                bitmap.table.value));
    }
    table_entries += bitmap.table_entries;
    if (table_entries > kMaxTableEntries) return broken("needs too much room for all tables");
    CHAINFS_ASSIGN(const std::span<const std::byte> rest,
                   window.Get(at + kDirectoryEntryBytes, extra_bytes + name_bytes));
    bitmap.extra.assign(rest.begin(), rest.begin() + static_cast<ptrdiff_t>(extra_bytes));
    for (const std::byte b : rest.subspan(extra_bytes)) bitmap.name += static_cast<char>(b);
    bitmap.place = at;
    at += DirectoryEntryBytes(extra_bytes, name_bytes);
    bitmaps.push_back(std::move(bitmap));
  }
  if (at != bytes) return broken("is not the last one");
  std::vector<std::string_view> names(bitmaps.size());
  std::ranges::transform(bitmaps, names.begin(), &StoredBitmap::name);
  std::ranges::sort(names);
  if (std::ranges::adjacent_find(names) != names.end()) return broken("has a name that was used");
  return bitmaps;
}

std::vector<std::byte> EncodeBitmapDirectory(std::span<const StoredBitmap> bitmaps) {
  std::vector<std::byte> raw;
  for (const StoredBitmap& bitmap : bitmaps) {
    const size_t at = raw.size();
    raw.resize(at + DirectoryEntryBytes(bitmap.extra.size(), bitmap.name.size()));
    std::byte* const entry = raw.data() + at;
    StoreBigEndian(entry, bitmap.table.value);
    StoreBigEndian(entry + 8, bitmap.table_entries);
    StoreBigEndian(entry + kBitmapFlagsAt, bitmap.flags);
    entry[16] = std::byte{bitmap.type};
    entry[17] = std::byte{bitmap.granularity_bits};
    StoreBigEndian(entry + 18, static_cast<uint16_t>(bitmap.name.size()));
    StoreBigEndian(entry + 20, static_cast<uint32_t>(bitmap.extra.size()));
    const auto rest = raw.begin() + static_cast<ptrdiff_t>(at + kDirectoryEntryBytes);
    std::ranges::copy(std::as_bytes(std::span(bitmap.name)),
                      std::ranges::copy(bitmap.extra, rest).out);
  }
  return raw;
}

uint64_t BitmapTableEntries(const Geometry& geometry, uint32_t granularity_bits, uint64_t size) {
  const uint64_t bits = DivRoundUp(size, 1ull << granularity_bits);
  return DivRoundUp(DivRoundUp(bits, 8), geometry.cluster_size());
}

std::string WhyUnusable(const StoredBitmap& bitmap, const Geometry& geometry, uint64_t size) {
  constexpr uint32_t kKnownFlags = kBitmapInUse | kBitmapAuto | kBitmapExtraCompatible;
  if ((bitmap.flags & ~kKnownFlags) != 0) return fmt::format("unknown flags {:#x}", bitmap.flags);
  if (bitmap.type != kBitmapDirtyTracking) return fmt::format("unknown type {}", bitmap.type);
  if (bitmap.granularity_bits < kMinGranularityBits ||
      bitmap.granularity_bits > kMaxGranularityBits) {
    return fmt::format("a granularity of 2^{} bytes, not 2^{} to 2^{}", bitmap.granularity_bits,
                       kMinGranularityBits, kMaxGranularityBits);
  }
  if (!bitmap.extra.empty() && (bitmap.flags & kBitmapExtraCompatible) == 0) {
    return "extra data that must be understood";
  }
  if (bitmap.name.contains('\0')) return "a NUL byte in its name";
  if (!bitmap.in_use() &&
      bitmap.table_entries != BitmapTableEntries(geometry, bitmap.granularity_bits, size)) {
    return fmt::format("a table of {} entries, which does not fit the disk", bitmap.table_entries);
  }
  return "";
}

}  // namespace chainfs::qcow2
