// SPDX-License-Identifier: Apache-2.0
//
// Crash ordering: the header is written last, after a sync of all that it points to, so an image
// that is found half-made is not taken for one; then a sync of the file and of its directory.
#include "blocklayer/formats/qcow2/create.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/header_layout.h"
#include "blocklayer/formats/qcow2/new_layout.h"
#include "blocklayer/formats/qcow2/preallocation.h"
#include "blocklayer/image/create_options.h"

namespace chainfs {
namespace qcow2 {
namespace {

std::unexpected<Error> Refuse(const std::string& path, std::string_view why) {
  return Fail(ErrorKind::kInvalidArgument, fmt::format("{}: {}", path, why));
}

Status CheckOptions(const std::string& path, const Qcow2CreateOptions& options) {
  if (options.version != 2 && options.version != 3) {
    return Refuse(path, fmt::format("qcow2 version {} is not 2 or 3", options.version));
  }
  if (options.cluster_bits < 9 || options.cluster_bits > 21) {
    return Refuse(path, fmt::format("a cluster size of 2^{} bytes is out of range; 512 bytes to 2 "
                                    "MiB are possible",
                                    options.cluster_bits));
  }
  if (options.refcount_order > 6) {
    return Refuse(path, fmt::format("a refcount width of 2^{} bits is out of range; 1 to 64 bits "
                                    "are possible",
                                    options.refcount_order));
  }
  if (options.version == 2) {
    if (options.refcount_order != 4) return Refuse(path, "qcow2 version 2 has 16-bit refcounts");
    if (options.lazy_refcounts) return Refuse(path, "lazy refcounts need qcow2 version 3");
    if (options.zstd) return Refuse(path, "zstd compression needs qcow2 version 3");
    if (options.extended_l2) return Refuse(path, "extended L2 entries need qcow2 version 3");
  }
  if (options.extended_l2 && options.cluster_bits < kLeastSubclusterBits) {
    return Refuse(path, fmt::format("extended L2 entries need clusters of at least {} bytes",
                                    1u << kLeastSubclusterBits));
  }
  if (options.backing && options.preallocation != Preallocation::kOff && !options.extended_l2) {
    // Standard entries cannot say that a cluster has a place and shows what lies below.
    return Refuse(path,
                  "an image with a backing file is preallocated only with extended L2 entries");
  }
  if (options.backing) {
    if (!options.backing->format) {
      return Refuse(path, "the format of the backing file must be stated");
    }
    CHAINFS_TRY(CheckBackingReference(*options.backing, path));
  }
  return {};
}

// The first cluster up to the end of the backing name.
Result<std::vector<std::byte>> MakeHeader(const std::string& path,
                                          const Qcow2CreateOptions& options,
                                          const NewLayout& layout) {
  const uint32_t length = options.version >= 3 ? kHeaderBytesWritten : kHeaderBytesV2;
  std::vector<std::byte> extension;
  if (options.backing) extension = BackingFormatExtension(*options.backing->format);
  const uint64_t area_end = length + extension.size() + 8;  // with the end mark, which is zeros
  std::vector<std::byte> bytes(std::max<uint64_t>(kHeaderSector, area_end));
  std::ranges::copy(extension, bytes.begin() + length);

  const Geometry& geometry = layout.geometry;
  HeaderFields fields;
  fields.version = options.version;
  fields.cluster_bits = options.cluster_bits;
  fields.size = layout.virtual_size;
  fields.l1_entries = layout.l1_entries;
  fields.l1_offset = geometry.HostOf(layout.l1_cluster());
  fields.refcount_table_offset = geometry.HostOf(1);
  fields.refcount_table_clusters = static_cast<uint32_t>(layout.table_clusters);
  fields.incompatible = (options.zstd ? kIncompatibleCompressionType : 0) |
                        (options.extended_l2 ? kIncompatibleExtendedL2 : 0);
  fields.compatible = options.lazy_refcounts ? kCompatibleLazyRefcounts : 0;
  fields.refcount_order = options.refcount_order;
  fields.header_length = length;
  fields.compression_type = options.zstd ? kCompressionZstd : kCompressionZlib;
  if (options.backing) {
    const std::string& name = options.backing->name;
    const std::optional<uint64_t> place =
        PlaceName({.cluster_size = geometry.cluster_size(), .area_end = area_end}, name.size());
    if (!place) {
      return Refuse(path, fmt::format("the backing file name has {} bytes; with {}-byte clusters "
                                      "there is room for {}",
                                      name.size(), geometry.cluster_size(),
                                      geometry.cluster_size() - RoundUp(area_end, 8)));
    }
    fields.backing_offset = *place;
    fields.backing_size = static_cast<uint32_t>(name.size());
    bytes.resize(std::max<uint64_t>(bytes.size(), *place + name.size()));
    std::ranges::copy(std::as_bytes(std::span(name)),
                      bytes.begin() + static_cast<ptrdiff_t>(*place));
  }
  EncodeHeaderFields(fields, bytes);
  return bytes;
}

Status WriteRefcounts(File& file, const NewLayout& layout) {
  const Geometry& geometry = layout.geometry;
  std::vector<std::byte> table(layout.table_clusters << geometry.cluster_bits);
  for (uint64_t b = 0; b < layout.blocks; ++b) {
    StoreBigEndian(table.data() + b * 8, geometry.HostOf(layout.first_block() + b).value);
    std::vector<std::byte> block(geometry.cluster_size());
    const uint64_t first = b * geometry.refblock_entries();
    const uint64_t used =
        std::min(layout.clusters - std::min(first, layout.clusters), geometry.refblock_entries());
    for (uint64_t i = 0; i < used; ++i) {
      StoreRefcount(block.data(), i, geometry.refcount_order, 1);
    }
    CHAINFS_TRY(file.WriteAt(geometry.HostOf(layout.first_block() + b), block));
  }
  return file.WriteAt(geometry.HostOf(1), table);
}

Status WriteImage(File& file, const NewLayout& layout, std::span<const std::byte> header,
                  Preallocation preallocation) {
  // The rest of the header's cluster, and an L1 table that maps nothing yet, are zeros by this.
  CHAINFS_TRY(file.Truncate(layout.clusters << layout.geometry.cluster_bits));
  CHAINFS_TRY(WriteRefcounts(file, layout));
  CHAINFS_TRY(WritePreallocated(file, layout, preallocation));
  if (header.size() > kHeaderSector) {
    CHAINFS_TRY(file.WriteAt(HostOffset(kHeaderSector), header.subspan(kHeaderSector)));
  }
  CHAINFS_TRY(file.DataSync());
  CHAINFS_TRY(file.WriteAt(HostOffset(0), header.first(kHeaderSector)));
  return file.DataSync();
}

// Syncs the directory that holds the last component of `name`.
Status SyncHolder(Directory& directory, const std::string& name) {
  const size_t slash = name.rfind('/');
  if (slash == std::string::npos || slash == 0) return directory.Sync();
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> holder,
                 directory.OpenDirectory(name.substr(0, slash)));
  return holder->Sync();
}

}  // namespace
}  // namespace qcow2

Result<std::optional<Qcow2Shape>> ReadQcow2Shape(File& file) {
  std::array<std::byte, qcow2::kHeaderBytesWritten> bytes = {};
  CHAINFS_ASSIGN(const size_t read, file.ReadAt(HostOffset(0), bytes));
  if (read < qcow2::kHeaderBytesV2 || !qcow2::HasQcow2Magic(bytes)) return std::nullopt;
  const qcow2::HeaderFields fields = qcow2::DecodeHeaderFields(bytes);
  return Qcow2Shape{.virtual_size = fields.size,
                    .extended_l2 = (fields.incompatible & qcow2::kIncompatibleExtendedL2) != 0};
}

Result<std::unique_ptr<File>> CreateQcow2(Directory& directory, const std::string& name,
                                          const Qcow2CreateOptions& options) {
  const std::string path = directory.path() + "/" + name;
  CHAINFS_TRY(qcow2::CheckOptions(path, options));
  CHAINFS_ASSIGN(const qcow2::NewLayout layout, qcow2::PlanNewLayout(path, options));
  CHAINFS_ASSIGN(const std::vector<std::byte> header, qcow2::MakeHeader(path, options, layout));
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 directory.Create(name, static_cast<mode_t>(options.permissions)));
  Status status = qcow2::WriteImage(*file, layout, header, options.preallocation);
  if (status) status = qcow2::SyncHolder(directory, name);
  if (status) return file;
  // The first failure is the one to report; what cannot be removed either stays unusable, since
  // the header comes last.
  const Result<FileStat> made = file->Stat();
  if (made && directory.RemoveFile(name, made->id)) {
    (void)qcow2::SyncHolder(directory, name).has_value();
  }
  return std::unexpected(std::move(status).error());
}

}  // namespace chainfs
