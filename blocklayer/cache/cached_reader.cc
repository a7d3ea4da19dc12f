// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/cache/cached_reader.h"

#include <span>

namespace chainfs {

Result<SlicePtr> CachedReader::SliceAt(HostOffset offset) {
  const HostOffset begin = offset.AlignDown(MetadataCache::kMaxSliceBytes);
  return cache_.Get(owner_, begin, MetadataCache::kMaxSliceBytes,
                    [&](std::span<std::byte> out) { return source_.ReadZeroFilled(begin, out); });
}

}  // namespace chainfs
