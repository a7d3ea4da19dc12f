// SPDX-License-Identifier: Apache-2.0
//
// PlannedSink: an image that is not there yet, for RangeCopier::Estimate: it takes everything, and
// nothing can be written to it.
//
// Threads: as CopySink.
#pragma once

#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class PlannedSink final : public CopySink {
 public:
  explicit PlannedSink(uint64_t cluster_size) : cluster_size_(cluster_size) {}

  uint64_t cluster_size() const override { return cluster_size_; }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override { return CopyRange{begin, end}; }
  Status Write(GuestOffset, std::span<const std::byte>) override { return NotThere(); }
  Status Zero(GuestOffset, uint64_t) override { return NotThere(); }
  Status Share(GuestOffset, uint64_t, File&, HostOffset) override { return NotThere(); }

 private:
  static Status NotThere() { return Fail(ErrorKind::kUnsupported, "the target is not there yet"); }

  const uint64_t cluster_size_;
};

}  // namespace chainfs::jobs
