// SPDX-License-Identifier: Apache-2.0
//
// PopulateSink: an image whose unallocated clusters get contents, while what is allocated is left
// alone, also when a guest has allocated it a moment ago: the image looks again under its own range
// lock. For what a stream fills, and for a new image with a format of its own (in a raw image
// everything is allocated).
//
// Threads: as CopySink.
#pragma once

#include "blocklayer/image/writable_image.h"
#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class PopulateSink final : public CopySink {
 public:
  // `image` outlives the sink.
  explicit PopulateSink(WritableImage& image) : image_(image) {}

  uint64_t cluster_size() const override { return image_.cluster_size(); }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override;
  Status Write(GuestOffset offset, std::span<const std::byte> data) override {
    return image_.Populate(offset, data);
  }
  Status Zero(GuestOffset offset, uint64_t length) override {
    return image_.PopulateZeroes(offset, length);
  }
  Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) override {
    return image_.PopulateFromFile(offset, length, file, place);
  }

 private:
  WritableImage& image_;
};

}  // namespace chainfs::jobs
