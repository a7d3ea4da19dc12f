// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/registry/format_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header_peek.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/raw/create.h"
#include "blocklayer/formats/raw/raw_image.h"
#include "blocklayer/formats/vdi/vdi_header.h"
#include "blocklayer/formats/vdi/vdi_image.h"
#include "blocklayer/formats/vhdx/file_regions.h"
#include "blocklayer/formats/vhdx/vhdx_image.h"
#include "blocklayer/formats/vmdk/vmdk_image.h"
#include "blocklayer/formats/vpc/vpc_footer.h"
#include "blocklayer/formats/vpc/vpc_image.h"

namespace chainfs {
namespace {

FormatRow Qcow2Row() {
  return {.format = ImageFormat::kQcow2,
          .extensions = {".qcow2"},
          .peek = PeekQcow2Header,
          .begins_like = BeginsLikeQcow2,
          .open = [](std::unique_ptr<File> file, MetadataCache& cache,
                     const ImageOpenOptions& options) -> Result<std::unique_ptr<Image>> {
            return OpenQcow2Image(std::move(file), cache, options);
          },
          .create = [](Directory& directory, const std::string& name,
                       const ImageCreateOptions& options) -> Result<std::unique_ptr<File>> {
            return CreateQcow2(
                directory, name,
                Qcow2CreateOptions{.virtual_size = options.virtual_size,
                                   .cluster_bits = options.cluster_bits,
                                   .lazy_refcounts = options.lazy_refcounts,
                                   .zstd = options.compression == ImageCompression::kZstd,
                                   .extended_l2 = options.subclusters,
                                   .backing = options.backing,
                                   .permissions = options.permissions});
          },
          .repair = RepairQcow2,
          .check = CheckQcow2};
}

FormatRow RawRow() {
  return {.format = ImageFormat::kRaw,
          .extensions = {".raw", ".img"},
          .peek = nullptr,
          .begins_like = nullptr,
          .open = [](std::unique_ptr<File> file, MetadataCache& /*cache*/,
                     const ImageOpenOptions& options) -> Result<std::unique_ptr<Image>> {
            return raw::OpenRawImage(std::move(file), options.read_only);
          },
          .create = [](Directory& directory, const std::string& name,
                       const ImageCreateOptions& options) -> Result<std::unique_ptr<File>> {
            if (options.backing) {
              return Fail(
                  ErrorKind::kInvalidArgument,
                  fmt::format("{}/{}: a raw image has no backing file", directory.path(), name));
            }
            if (options.compression) {
              return Fail(ErrorKind::kInvalidArgument,
                          fmt::format("{}/{}: a raw image holds nothing compressed; make a qcow2 "
                                      "image, or leave compression out",
                                      directory.path(), name));
            }
            return raw::CreateRaw(directory, name, options.virtual_size, options.permissions);
          },
          .repair = nullptr,
          .check = nullptr};
}

// Of a format that is only read, whose images name no other files.
FormatRow ReadOnlyRow(ImageFormat format, std::vector<std::string_view> extensions,
                      FormatRow::BeginsLike begins_like, FormatRow::Open open) {
  return {.format = format,
          .extensions = std::move(extensions),
          .peek = nullptr,
          .begins_like = begins_like,
          .open = open,
          .create = nullptr,
          .repair = nullptr,
          .check = nullptr};
}

}  // namespace

const FormatRegistry& FormatRegistry::BuiltIn() {
  static const FormatRegistry registry(
      {Qcow2Row(), RawRow(),
       ReadOnlyRow(ImageFormat("vdi"), {".vdi"}, vdi::BeginsLikeVdi, vdi::OpenVdiImage),
       ReadOnlyRow(ImageFormat("vhdx"), {".vhdx"}, vhdx::BeginsLikeVhdx, vhdx::OpenVhdxImage),
       ReadOnlyRow(ImageFormat("vmdk"), {".vmdk"}, vmdk::BeginsLikeVmdk, vmdk::OpenVmdkImage),
       ReadOnlyRow(ImageFormat("vpc"), {".vpc", ".vhd"}, vpc::BeginsLikeVpc, vpc::OpenVpcImage)});
  return registry;
}

const FormatRow* FormatRegistry::FindByName(std::string_view name) const {
  const auto found =
      std::ranges::find(rows_, name, [](const FormatRow& row) { return row.format.name(); });
  return found == rows_.end() ? nullptr : &*found;
}

std::string_view FormatRegistry::ExtensionOf(std::string_view file_name) const {
  for (const FormatRow& row : rows_) {
    for (const std::string_view extension : row.extensions) {
      if (file_name.size() > extension.size() && file_name.ends_with(extension)) return extension;
    }
  }
  return {};
}

const FormatRow* FormatRegistry::FindByExtension(std::string_view extension) const {
  for (const FormatRow& row : rows_) {
    if (std::ranges::find(row.extensions, extension) != row.extensions.end()) return &row;
  }
  return nullptr;
}

std::string FormatRegistry::Names() const {
  std::string names;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (i > 0) names += i + 1 == rows_.size() ? " and " : ", ";
    names += rows_[i].format.name();
  }
  return names;
}

Result<FormatRegistry::Unnamed> FormatRegistry::PeekUnnamed(File& file) const {
  for (const FormatRow& row : rows_) {
    if (row.peek == nullptr) continue;
    CHAINFS_ASSIGN(HeaderPeek peek, row.peek(file));
    if (peek.backing || !peek.data_file.empty()) return Unnamed{row.format, std::move(peek)};
  }
  return Unnamed{};
}

std::optional<ImageFormat> FormatRegistry::BeginsLike(File& file, ImageFormat shown_as) const {
  for (const FormatRow& row : rows_) {
    if (row.begins_like == nullptr || row.format == shown_as) continue;
    if (row.begins_like(file)) return row.format;
  }
  return std::nullopt;
}

std::optional<ImageFormat> ParseImageFormat(std::string_view word) {
  const FormatRow* const row = FormatRegistry::BuiltIn().FindByName(word);
  if (row == nullptr) return std::nullopt;
  return row->format;
}

}  // namespace chainfs
