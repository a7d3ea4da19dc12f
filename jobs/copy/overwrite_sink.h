// SPDX-License-Identifier: Apache-2.0
//
// OverwriteSink: an image that holds afterwards what was copied, whatever it held before: the base
// of a commit, the target of a mirror, a new raw image.
//
// Threads: as CopySink. Nobody else writes the image, but for what its owner orders itself.
#pragma once

#include <memory>

#include "blocklayer/image/writable_image.h"
#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class OverwriteSink final : public CopySink {
 public:
  // `image` outlives the sink. `below`: what the image is built on; null when it has no backing
  // file, so that what it leaves unallocated reads as zeros.
  OverwriteSink(WritableImage& image, std::shared_ptr<const BackingReader> below);

  uint64_t cluster_size() const override { return image_.cluster_size(); }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override { return CopyRange{begin, end}; }
  Status Write(GuestOffset offset, std::span<const std::byte> data) override;
  // Changes nothing where the image reads as zeros by itself, so a new image stays small.
  Status Zero(GuestOffset offset, uint64_t length) override;
  Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) override {
    return image_.WriteFromFile(offset, length, file, place);
  }

 private:
  bool IsZero(const Extent& extent) const;

  WritableImage& image_;
  const std::shared_ptr<const BackingReader> below_;
};

}  // namespace chainfs::jobs
