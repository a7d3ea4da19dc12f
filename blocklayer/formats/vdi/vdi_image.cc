// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vdi/vdi_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/cache/cached_reader.h"
#include "blocklayer/formats/vdi/vdi_header.h"
#include "blocklayer/image/read_only_image.h"

namespace chainfs::vdi {
namespace {

// Entries that name no block of the file.
constexpr uint32_t kNeverWritten = 0xffffffff;
constexpr uint32_t kDiscarded = 0xfffffffe;

class VdiImage final : public ReadOnlyImage {
 public:
  VdiImage(std::unique_ptr<File> file, MetadataCache& cache, uint64_t owner,
           const VdiHeader& header, uint64_t file_size)
      : ReadOnlyImage(ImageFormat("vdi"), std::move(file), header.disk_size, kBlockBytes),
        map_(cache, owner, this->file()),
        header_(header),
        file_size_(file_size) {}

 private:
  Result<Extent> MapBlock(GuestOffset offset, uint64_t length) override;

  CachedReader map_;
  const VdiHeader header_;
  const uint64_t file_size_;
};

Result<Extent> VdiImage::MapBlock(GuestOffset offset, uint64_t length) {
  const uint64_t block = offset.value / kBlockBytes;
  const uint64_t within = offset.Within(kBlockBytes);
  length = std::min(length, kBlockBytes - within);
  CHAINFS_ASSIGN(const uint32_t entry, map_.LoadLittle<uint32_t>(header_.map + block * 4));
  if (entry == kNeverWritten) return Extent{.length = length};
  if (entry == kDiscarded) return Extent{.kind = ExtentKind::kZero, .length = length};
  const HostOffset begin = header_.data + uint64_t{entry} * kBlockBytes;
  const uint64_t used =
      std::min<uint64_t>(kBlockBytes, virtual_size() - offset.AlignDown(kBlockBytes).value);
  if (begin.value + used > file_size_) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: block {} lies past the end of the file; it was cut short, or its "
                            "block map is corrupt",
                            file().path(), block));
  }
  return Extent{.kind = ExtentKind::kData, .length = length, .host = begin + within};
}

}  // namespace

Result<std::unique_ptr<Image>> OpenVdiImage(std::unique_ptr<File> file, MetadataCache& cache,
                                            const ImageOpenOptions& options) {
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  CHAINFS_ASSIGN(const VdiHeader header, ReadVdiHeader(*file, size));
  return std::make_unique<VdiImage>(std::move(file), cache, options.owner, header, size);
}

}  // namespace chainfs::vdi
