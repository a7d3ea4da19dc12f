// SPDX-License-Identifier: Apache-2.0
//
// ReadOnlyImage: what the formats that chainfs only reads have in common. A format says where one
// block lies; ranges, runs of blocks and the holes of the host's files are the same for all.
//
// Threads: as Image; nothing changes after construction, so there is nothing to lock.
#pragma once

#include <memory>

#include "blocklayer/image/image.h"

namespace chainfs {

class ReadOnlyImage : public Image {
 public:
  // What is reported as the unit of allocation at most: some formats have blocks of 256 MiB, and
  // who works by whole units would need as much memory.
  static constexpr uint32_t kLargestCluster = 2U << 20;

  ImageFormat format() const override { return format_; }
  File& file() override { return *file_; }
  uint64_t virtual_size() const override { return virtual_size_; }
  uint32_t cluster_size() const override { return cluster_size_; }
  std::optional<BackingReference> backing() const override { return std::nullopt; }
  Result<uint64_t> AllocatedBytes() override;
  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) final;

 protected:
  // `virtual_size` in bytes; `cluster_size` a power of two.
  ReadOnlyImage(ImageFormat format, std::unique_ptr<File> file, uint64_t virtual_size,
                uint32_t cluster_size);

  // As Map, for a range within the disk, but may end early: at the end of a block.
  virtual Result<Extent> MapBlock(GuestOffset offset, uint64_t length) = 0;

 private:
  // Makes `extent`, data, end where the host's file begins or ends a hole.
  Status CutAtHole(Extent& extent);

  const ImageFormat format_;
  const std::unique_ptr<File> file_;
  const uint64_t virtual_size_;
  const uint32_t cluster_size_;
};

}  // namespace chainfs
