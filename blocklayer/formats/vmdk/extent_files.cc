// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vmdk/extent_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/image/read_only_image.h"

namespace chainfs::vmdk {
namespace {

constexpr uint64_t kClusterOfFlatDisks = 65536;

}  // namespace

ExtentFiles::ExtentFiles(File& named, MetadataCache& cache) : cache_(cache) {
  sources_.push_back(
      {.name = {}, .opened = nullptr, .file = &named, .bytes = 0, .sparse = nullptr});
}

void ExtentFiles::Append(Part part) {
  part.begin = disk_size_;
  disk_size_ += part.length;
  parts_.push_back(part);
}

void ExtentFiles::AddNamed(const SparseHeader& header, uint64_t file_size, uint64_t owner) {
  Source& named = sources_.front();
  named.bytes = file_size;
  named.sparse =
      std::make_unique<SparseExtent>(cache_, owner, *named.file, uint16_t{0}, header, file_size);
  Append({.begin = 0,
          .length = header.capacity,
          .type = ExtentType::kSparse,
          .source = 0,
          .offset = 0});
}

// Several extents may lie in one file.
Result<uint16_t> ExtentFiles::SourceOf(const std::string& name, const ImageOpenOptions& options) {
  const auto known = std::ranges::find(sources_, name, &Source::name);
  if (known != sources_.end()) return static_cast<uint16_t>(known - sources_.begin());
  if (!options.open_beside) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: its extents lie in other files, which cannot be opened here",
                            sources_.front().file->path()));
  }
  CHAINFS_ASSIGN(std::unique_ptr<File> opened, options.open_beside(name));
  CHAINFS_ASSIGN(const uint64_t bytes, opened->Size());
  File* const file = opened.get();
  sources_.push_back(
      {.name = name, .opened = std::move(opened), .file = file, .bytes = bytes, .sparse = nullptr});
  return static_cast<uint16_t>(sources_.size() - 1);
}

Status ExtentFiles::Add(const DescribedExtent& described, const ImageOpenOptions& options) {
  Part part{.begin = 0,
            .length = described.length,
            .type = described.type,
            .source = 0,
            .offset = described.offset};
  if (described.type != ExtentType::kZero) {
    CHAINFS_ASSIGN(part.source, SourceOf(described.file, options));
  }
  Source& source = sources_[part.source];
  if (described.type == ExtentType::kFlat &&
      (part.offset > source.bytes || part.length > source.bytes - part.offset)) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: the file has {} bytes, but {} at {} belong to a disk; it was cut "
                            "short",
                            source.file->path(), source.bytes, part.length, part.offset));
  }
  if (described.type == ExtentType::kSparse) {
    if (source.sparse == nullptr) {
      CHAINFS_ASSIGN(SparseHeader header, ReadSparseHeader(*source.file, source.bytes));
      header.descriptor.clear();
      source.sparse = std::make_unique<SparseExtent>(cache_, cache_.NewOwner(), *source.file,
                                                     part.source, header, source.bytes);
    }
    if (source.sparse->header().capacity != part.length) {
      return Fail(ErrorKind::kCorrupt,
                  fmt::format("{}: holds {} bytes, but the descriptor of the disk says {}",
                              source.file->path(), source.sparse->header().capacity, part.length));
    }
  }
  Append(part);
  return {};
}

// The cluster of what is compressed is that of the whole image.
Status ExtentFiles::Check() const {
  for (const Part& part : parts_) {
    if (part.type != ExtentType::kSparse) continue;
    const File& file = *sources_[part.source].file;
    const SparseHeader& header = sources_[part.source].sparse->header();
    if (part.begin + part.length < disk_size_ && part.length % header.grain_bytes != 0) {
      return Fail(ErrorKind::kUnsupported,
                  fmt::format("{}: ends within a grain, but is not the last extent of its disk; "
                              "programs differ in what follows",
                              file.path()));
    }
    if (!header.compressed) continue;
    if (header.grain_bytes != cluster_size() || part.begin % header.grain_bytes != 0) {
      return Fail(ErrorKind::kUnsupported,
                  fmt::format("{}: compressed grains of {} bytes are too large, or do not fit to "
                              "the other extents of the disk",
                              file.path(), header.grain_bytes));
    }
  }
  return {};
}

uint32_t ExtentFiles::cluster_size() const {
  uint64_t smallest = UINT64_MAX;
  for (const Source& source : sources_) {
    if (source.sparse) smallest = std::min(smallest, source.sparse->header().grain_bytes);
  }
  if (smallest == UINT64_MAX) smallest = kClusterOfFlatDisks;
  return static_cast<uint32_t>(std::min<uint64_t>(smallest, ReadOnlyImage::kLargestCluster));
}

bool ExtentFiles::compressed() const {
  return std::ranges::any_of(sources_, [](const Source& source) {
    return source.sparse && source.sparse->header().compressed;
  });
}

Result<Extent> ExtentFiles::Map(GuestOffset offset, uint64_t length) {
  const Part& part = *std::prev(std::ranges::upper_bound(parts_, offset.value, {}, &Part::begin));
  const uint64_t within = offset.value - part.begin;
  length = std::min(length, part.length - within);
  switch (part.type) {
    case ExtentType::kFlat:
      return Extent{.kind = ExtentKind::kData,
                    .length = length,
                    .host = HostOffset(part.offset + within),
                    .source = part.source};
    case ExtentType::kSparse:
      return sources_[part.source].sparse->Map(within, length);
    case ExtentType::kZero:
      break;
  }
  return Extent{.kind = ExtentKind::kZero, .length = length};
}

Status ExtentFiles::ReadGrain(const Extent& extent, std::span<std::byte> out) {
  return sources_[extent.source].sparse->ReadGrain(extent, out);
}

}  // namespace chainfs::vmdk
