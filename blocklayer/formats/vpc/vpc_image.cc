// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vpc/vpc_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/cache/cached_reader.h"
#include "blocklayer/formats/vpc/vpc_footer.h"
#include "blocklayer/image/read_only_image.h"

namespace chainfs::vpc {
namespace {

constexpr uint32_t kNotAllocated = 0xffffffff;
constexpr uint32_t kFixedCluster = 4096;

class VpcImage final : public ReadOnlyImage {
 public:
  VpcImage(std::unique_ptr<File> file, MetadataCache& cache, uint64_t owner,
           const VpcLayout& layout, uint64_t file_size)
      : ReadOnlyImage(ImageFormat("vpc"), std::move(file), layout.disk_size,
                      layout.block_size == 0 ? kFixedCluster : layout.block_size),
        table_(cache, owner, this->file()),
        layout_(layout),
        bitmap_bytes_(
            RoundUp(DivRoundUp(layout.block_size, uint64_t{kSectorBytes} * 8), kSectorBytes)),
        file_size_(file_size) {}

 private:
  Result<Extent> MapBlock(GuestOffset offset, uint64_t length) override;

  CachedReader table_;
  const VpcLayout layout_;
  const uint64_t bitmap_bytes_;  // before each block
  const uint64_t file_size_;
};

Result<Extent> VpcImage::MapBlock(GuestOffset offset, uint64_t length) {
  if (layout_.block_size == 0) {
    return Extent{.kind = ExtentKind::kData, .length = length, .host = HostOffset(offset.value)};
  }
  const uint64_t block = offset.value / layout_.block_size;
  const uint64_t within = offset.Within(layout_.block_size);
  length = std::min(length, layout_.block_size - within);
  CHAINFS_ASSIGN(const uint32_t entry, table_.LoadBig<uint32_t>(layout_.table + block * 4));
  if (entry == kNotAllocated) return Extent{.length = length};
  const HostOffset begin = HostOffset(uint64_t{entry} * kSectorBytes) + bitmap_bytes_;
  const uint64_t used =
      std::min<uint64_t>(layout_.block_size, virtual_size() - (offset.value - within));
  if (begin.value + used > file_size_) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: block {} lies past the end of the file; it was cut short, or its "
                            "block table is corrupt",
                            file().path(), block));
  }
  return Extent{.kind = ExtentKind::kData, .length = length, .host = begin + within};
}

}  // namespace

Result<std::unique_ptr<Image>> OpenVpcImage(std::unique_ptr<File> file, MetadataCache& cache,
                                            const ImageOpenOptions& options) {
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  CHAINFS_ASSIGN(const VpcLayout layout, ReadVpcLayout(*file, size));
  return std::make_unique<VpcImage>(std::move(file), cache, options.owner, layout, size);
}

}  // namespace chainfs::vpc
