// SPDX-License-Identifier: Apache-2.0
//
// One sparse file of a VMDK disk: where its grains lie, and what compressed ones hold.
//
// Threads: all methods, any thread; nothing changes after construction.
#pragma once

#include <cstdint>
#include <span>

#include "blocklayer/cache/cached_reader.h"
#include "blocklayer/formats/vmdk/sparse_header.h"
#include "blocklayer/image/image.h"

namespace chainfs::vmdk {

class SparseExtent {
 public:
  // `cache` and `file`, of `file_size` bytes, outlive it. `owner` is its own; `source` is what the
  // image calls the file.
  SparseExtent(MetadataCache& cache, uint64_t owner, File& file, uint16_t source,
               const SparseHeader& header, uint64_t file_size);

  const SparseHeader& header() const { return header_; }
  // The extent at `offset` of what this file holds, at most `length` bytes, within one grain;
  // offset + length <= capacity. kCorrupt, kIo.
  Result<Extent> Map(uint64_t offset, uint64_t length);
  // Decodes the grain at `extent`, as Map gave it, into `out`, exactly a grain. kCorrupt, kIo.
  Status ReadGrain(const Extent& extent, std::span<std::byte> out);

 private:
  // Whether `extent`, which decodes to `bytes`, is the last grain, and those cover its part of the
  // disk.
  Result<bool> IsLastGrain(const Extent& extent, uint64_t bytes);
  std::unexpected<Error> PastTheEnd(std::string_view what, uint64_t sector) const;

  CachedReader tables_;
  File& file_;
  const uint16_t source_;
  const SparseHeader header_;
  const uint64_t file_size_;
};

}  // namespace chainfs::vmdk
