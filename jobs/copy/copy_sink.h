// SPDX-License-Identifier: Apache-2.0
//
// CopySink: what a job copies into.
//
// Ranges begin at a multiple of cluster_size() and end at one or at the end of the sink.
//
// Threads: all methods, any thread, also at once for different ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"
#include "blocklayer/io/file.h"

namespace chainfs::jobs {

// Bytes of a disk; empty when begin == end.
struct CopyRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

class CopySink {
 public:
  virtual ~CopySink() = default;
  CopySink() = default;
  CopySink(const CopySink&) = delete;
  CopySink& operator=(const CopySink&) = delete;

  virtual uint64_t cluster_size() const = 0;  // bytes, a power of two
  // The first part of [begin, end), in whole clusters, that the sink takes; empty when it takes
  // nothing of it. A hint: what it does not take it also leaves alone when it is written.
  virtual Result<CopyRange> Taken(uint64_t begin, uint64_t end) = 0;

  // The range holds `data` from now on.
  virtual Status Write(GuestOffset offset, std::span<const std::byte> data) = 0;
  // The range reads as zeros from now on, whatever lies below.
  virtual Status Zero(GuestOffset offset, uint64_t length) = 0;
  // As Write, of what `file` has at `place`, without reading it into this process. kUnsupported
  // where the files cannot: a part may be written then, and whoever goes on writes it all.
  virtual Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) = 0;
};

}  // namespace chainfs::jobs
