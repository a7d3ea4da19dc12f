// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vmdk/vmdk_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "blocklayer/formats/vmdk/extent_files.h"
#include "blocklayer/image/read_only_image.h"

namespace chainfs::vmdk {
namespace {

constexpr size_t kMagicBytes = 32;
// Of disks whose descriptor is a file of its own.
constexpr std::array<std::string_view, 4> kCreateTypes = {"monolithicFlat", "twoGbMaxExtentFlat",
                                                          "twoGbMaxExtentSparse", "vmfs"};

class VmdkImage final : public ReadOnlyImage {
 public:
  VmdkImage(std::unique_ptr<File> file, std::unique_ptr<ExtentFiles> extents)
      : ReadOnlyImage(ImageFormat("vmdk"), std::move(file), extents->disk_size(),
                      extents->cluster_size()),
        extents_(std::move(extents)) {}

  uint16_t source_count() const override { return extents_->source_count(); }
  std::optional<ImageCompression> compression() const override {
    return extents_->compressed() ? std::optional(ImageCompression::kZlib) : std::nullopt;
  }
  Result<uint64_t> AllocatedBytes() override;
  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override {
    return extents_->ReadGrain(extent, out);
  }

 private:
  Result<Extent> MapBlock(GuestOffset offset, uint64_t length) override {
    return extents_->Map(offset, length);
  }
  ByteSource& FurtherSource(uint16_t number) override { return extents_->source(number); }

  const std::unique_ptr<ExtentFiles> extents_;
};

Result<uint64_t> VmdkImage::AllocatedBytes() {
  uint64_t bytes = 0;
  for (uint16_t i = 0; i < extents_->source_count(); ++i) {
    CHAINFS_ASSIGN(const FileStat stat, extents_->source(i).Stat());
    bytes += stat.allocated_bytes;
  }
  return bytes;
}

Status AddSparse(File& file, uint64_t file_size, uint64_t owner, ExtentFiles& extents) {
  CHAINFS_ASSIGN(SparseHeader header, ReadSparseHeader(file, file_size));
  if (header.descriptor.empty()) {
    return Fail(ErrorKind::kUnsupported,
                file.path() +
                    ": holds a part of a VMDK disk only (it has no descriptor); name the "
                    "file that has the descriptor");
  }
  // For the sake of a parent; that the disk lies in this file is said already.
  CHAINFS_TRY(ParseDescriptor(file.path(), header.descriptor));
  header.descriptor.clear();
  extents.AddNamed(header, file_size, owner);
  return {};
}

Status AddDescribed(File& file, uint64_t file_size, const ImageOpenOptions& options,
                    ExtentFiles& extents) {
  std::string text(file_size, '\0');
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), std::as_writable_bytes(std::span(text))));
  // qemu-img fills up the last sector.
  if (text.ends_with('\0')) text.resize(text.find_last_not_of('\0') + 1);
  CHAINFS_ASSIGN(const Descriptor descriptor, ParseDescriptor(file.path(), text));
  if (std::ranges::find(kCreateTypes, descriptor.create_type) == kCreateTypes.end()) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: a VMDK disk of the type \"{}\"; chainfs reads monolithicSparse, "
                            "streamOptimized, {}",
                            file.path(), descriptor.create_type, fmt::join(kCreateTypes, ", ")));
  }
  if (descriptor.extents.empty()) {
    return Fail(ErrorKind::kInvalidFormat, file.path() + ": its descriptor names no extents");
  }
  for (const DescribedExtent& extent : descriptor.extents) {
    Status added = extents.Add(extent, options);
    if (added) continue;
    return std::unexpected(WithContext(std::move(added).error(), file.path()));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Image>> OpenVmdkImage(std::unique_ptr<File> file, MetadataCache& cache,
                                             const ImageOpenOptions& options) {
  CHAINFS_ASSIGN(const uint64_t size, file->Size());
  std::array<std::byte, kMagicBytes> begin = {};
  CHAINFS_TRY(file->ReadZeroFilled(HostOffset(0), begin));
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), begin.size());
  auto extents = std::make_unique<ExtentFiles>(*file, cache);
  if (IsSparseVmdk(begin)) {
    CHAINFS_TRY(AddSparse(*file, size, options.owner, *extents));
  } else if (IsDescriptorText(text) && size <= kMostDescriptorBytes) {
    CHAINFS_TRY(AddDescribed(*file, size, options, *extents));
  } else {
    return Fail(ErrorKind::kInvalidFormat,
                file->path() +
                    ": not a VMDK image; if it is an extent of one, name the file with the "
                    "descriptor");
  }
  CHAINFS_TRY(extents->Check());
  return std::make_unique<VmdkImage>(std::move(file), std::move(extents));
}

bool BeginsLikeVmdk(File& file) {
  std::array<std::byte, kMagicBytes> begin = {};
  if (!file.ReadZeroFilled(HostOffset(0), begin)) return false;
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), begin.size());
  return IsSparseVmdk(begin) || IsDescriptorText(text);
}

}  // namespace chainfs::vmdk
