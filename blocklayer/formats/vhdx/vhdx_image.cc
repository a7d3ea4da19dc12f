// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vhdx/vhdx_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/cache/cached_reader.h"
#include "blocklayer/formats/vhdx/disk_parameters.h"
#include "blocklayer/formats/vhdx/file_regions.h"
#include "blocklayer/image/read_only_image.h"

namespace chainfs::vhdx {
namespace {

// States of a block, the low bits of its entry. The others are for differencing images, or nothing.
enum BlockState : uint64_t {
  kNotPresent = 0,
  kUndefined = 1,
  kZeros = 2,
  kUnmapped = 3,
  kFullyPresent = 6,
};
constexpr uint64_t kStateBits = 7;
constexpr uint64_t kPlaceBits = ~(kMiB - 1);
// So much of a disk shares an entry for a bitmap of sectors, which follows those of its blocks.
constexpr uint64_t kChunkBytes = uint64_t{4} << 30;

uint64_t EntryOf(uint64_t block, uint32_t block_size) {
  return block + block / (kChunkBytes / block_size);
}

class VhdxImage final : public ReadOnlyImage {
 public:
  VhdxImage(std::unique_ptr<File> file, MetadataCache& cache, uint64_t owner, FileRegions regions,
            const DiskParameters& disk, uint64_t file_size)
      : ReadOnlyImage(ImageFormat("vhdx"), std::move(file), disk.disk_size, disk.block_size),
        table_(cache, owner, this->file()),
        regions_(std::move(regions)),
        block_size_(disk.block_size),
        file_size_(file_size) {}

 private:
  Result<Extent> MapBlock(GuestOffset offset, uint64_t length) override;
  bool IsTaken(uint64_t begin) const;
  std::unexpected<Error> CorruptBlock(uint64_t block, uint64_t entry) const;

  CachedReader table_;
  const FileRegions regions_;
  const uint32_t block_size_;
  const uint64_t file_size_;
};

bool VhdxImage::IsTaken(uint64_t begin) const {
  const auto next =
      std::ranges::lower_bound(regions_.taken, begin + block_size_, {}, &Region::begin);
  if (next == regions_.taken.begin()) return false;
  const Region& before = *std::prev(next);
  return before.begin + before.length > begin;
}

std::unexpected<Error> VhdxImage::CorruptBlock(uint64_t block, uint64_t entry) const {
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: block {} cannot be in the state, or at the place, that its entry "
                          "{:#x} says; the file was cut short, or its block table is corrupt",
                          const_cast<VhdxImage*>(this)->file().path(), block, entry));
}

Result<Extent> VhdxImage::MapBlock(GuestOffset offset, uint64_t length) {
  const uint64_t block = offset.value / block_size_;
  const uint64_t within = offset.Within(block_size_);
  length = std::min(length, block_size_ - within);
  CHAINFS_ASSIGN(const uint64_t entry,
                 table_.LoadLittle<uint64_t>(
                     HostOffset(regions_.table.begin + EntryOf(block, block_size_) * 8)));
  switch (entry & kStateBits) {
    case kNotPresent:
      return Extent{.length = length};
    case kUndefined:
    case kZeros:
    case kUnmapped:
      return Extent{.kind = ExtentKind::kZero, .length = length};
    case kFullyPresent:
      break;
    default:
      return CorruptBlock(block, entry);
  }
  const uint64_t begin = entry & kPlaceBits;
  const uint64_t used = std::min<uint64_t>(block_size_, virtual_size() - (offset.value - within));
  if (begin > file_size_ || used > file_size_ - begin || IsTaken(begin)) {
    return CorruptBlock(block, entry);
  }
  return Extent{.kind = ExtentKind::kData, .length = length, .host = HostOffset(begin + within)};
}

}  // namespace

Result<std::unique_ptr<Image>> OpenVhdxImage(std::unique_ptr<File> file, MetadataCache& cache,
                                             const ImageOpenOptions& options) {
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  CHAINFS_ASSIGN(FileRegions regions, ReadFileRegions(*file, size));
  CHAINFS_ASSIGN(const DiskParameters disk, ReadDiskParameters(*file, regions.metadata));
  const uint64_t blocks = DivRoundUp(disk.disk_size, disk.block_size);
  if (blocks > 0 && EntryOf(blocks - 1, disk.block_size) >= regions.table.length / 8) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: its block table, {} bytes, is too short for {} blocks",
                            file->path(), regions.table.length, blocks));
  }
  return std::make_unique<VhdxImage>(std::move(file), cache, options.owner, std::move(regions),
                                     disk, size);
}

}  // namespace chainfs::vhdx
