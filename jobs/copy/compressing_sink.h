// SPDX-License-Identifier: Apache-2.0
//
// CompressingSink: a sink over another one of the same image, which stores compressed what was
// unallocated and becomes shorter by it. The rest is the other one's: clusters that do not shrink,
// clusters that are allocated, zeros. Nothing is shared, since that would not be compressed.
//
// What is written goes through a oneTBB pipeline: it is cut into groups of clusters, these are
// compressed in parallel, and what does not shrink is stored in order meanwhile. What does shrink
// is stored at the end, all at once, because an image packs closely what comes together.
//
// Threads: as CopySink. A thread that waits for the others takes up no other task of its arena, so
// what a caller keeps for its thread (a buffer) stays its own.
#pragma once

#include <memory>

#include "blocklayer/image/writable_image.h"
#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class CompressingSink final : public CopySink {
 public:
  // `plain` writes to `image`, which outlives both and holds compressed clusters (compression()).
  CompressingSink(std::unique_ptr<CopySink> plain, WritableImage& image);

  uint64_t cluster_size() const override { return plain_->cluster_size(); }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override {
    return plain_->Taken(begin, end);
  }
  Status Write(GuestOffset offset, std::span<const std::byte> data) override;
  Status Zero(GuestOffset offset, uint64_t length) override { return plain_->Zero(offset, length); }
  Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) override;

 private:
  class Pipeline;

  const std::unique_ptr<CopySink> plain_;
  WritableImage& image_;
};

}  // namespace chainfs::jobs
