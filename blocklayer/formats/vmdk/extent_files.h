// SPDX-License-Identifier: Apache-2.0
//
// ExtentFiles: the extents of a VMDK disk, one after the other, and the files that hold them.
//
// Threads: all methods but those that add, any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/formats/vmdk/descriptor.h"
#include "blocklayer/formats/vmdk/sparse_extent.h"
#include "blocklayer/image/open_options.h"

namespace chainfs::vmdk {

class ExtentFiles {
 public:
  // `named` is the file by which the image is known, source 0; it and `cache` outlive this.
  ExtentFiles(File& named, MetadataCache& cache);

  // The whole disk lies in the named file itself; `owner` is that of the image.
  void AddNamed(const SparseHeader& header, uint64_t file_size, uint64_t owner);
  // One more extent, in a file that `options` opens. kUnsupported, kCorrupt, kNotFound, kBusy...
  Status Add(const DescribedExtent& described, const ImageOpenOptions& options);
  // Once all are there: whether they fit together.
  Status Check() const;

  uint64_t disk_size() const { return disk_size_; }
  // The smallest grain, or 64 KiB where there are none; bytes, a power of two.
  uint32_t cluster_size() const;
  bool compressed() const;
  uint16_t source_count() const { return static_cast<uint16_t>(sources_.size()); }
  File& source(uint16_t number) { return *sources_[number].file; }
  // As Image::Map, but may end early; `offset` within the disk.
  Result<Extent> Map(GuestOffset offset, uint64_t length);
  Status ReadGrain(const Extent& extent, std::span<std::byte> out);

 private:
  struct Source {
    std::string name;              // empty for source 0
    std::unique_ptr<File> opened;  // null for source 0
    File* file = nullptr;
    uint64_t bytes = 0;
    std::unique_ptr<SparseExtent> sparse;  // once an extent needs it
  };
  struct Part {
    uint64_t begin = 0;  // on the disk, bytes
    uint64_t length = 0;
    ExtentType type = ExtentType::kZero;
    uint16_t source = 0;
    uint64_t offset = 0;  // into the source, for kFlat
  };

  Result<uint16_t> SourceOf(const std::string& name, const ImageOpenOptions& options);
  void Append(Part part);

  MetadataCache& cache_;
  std::vector<Source> sources_;
  std::vector<Part> parts_;
  uint64_t disk_size_ = 0;
};

}  // namespace chainfs::vmdk
