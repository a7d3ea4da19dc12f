// SPDX-License-Identifier: Apache-2.0
//
// CachedReader: the numbers of tables that are only read, by way of the metadata cache, so that a
// table of any size costs what is used of it.
//
// Threads: all methods, any thread.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/result.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/io/byte_source.h"

namespace chainfs {

class CachedReader {
 public:
  // `cache` and `source` outlive it. `owner` is this reader's own: its slices go when it does.
  CachedReader(MetadataCache& cache, uint64_t owner, ByteSource& source)
      : cache_(cache), owner_(owner), source_(source) {}
  ~CachedReader() { cache_.DropOwner(owner_); }
  CachedReader(const CachedReader&) = delete;
  CachedReader& operator=(const CachedReader&) = delete;

  // The number at `offset`, a multiple of its size; zero past the end of the source. kIo.
  template <std::unsigned_integral T>
  Result<T> LoadBig(HostOffset offset) {
    CHAINFS_ASSIGN(const SlicePtr slice, SliceAt(offset));
    return LoadBigEndian<T>(&slice->bytes()[offset.Within(MetadataCache::kMaxSliceBytes)]);
  }
  template <std::unsigned_integral T>
  Result<T> LoadLittle(HostOffset offset) {
    CHAINFS_ASSIGN(const SlicePtr slice, SliceAt(offset));
    return LoadLittleEndian<T>(&slice->bytes()[offset.Within(MetadataCache::kMaxSliceBytes)]);
  }

 private:
  Result<SlicePtr> SliceAt(HostOffset offset);

  MetadataCache& cache_;
  const uint64_t owner_;
  ByteSource& source_;
};

}  // namespace chainfs
