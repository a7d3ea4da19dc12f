// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/populate_sink.h"

#include <algorithm>

namespace chainfs::jobs {

Result<CopyRange> PopulateSink::Taken(uint64_t begin, uint64_t end) {
  for (uint64_t at = begin; at < end;) {
    CHAINFS_ASSIGN(const Extent extent, image_.Map(GuestOffset(at), end - at, MapDetail::kFast));
    const uint64_t stop = at + std::min(extent.length, end - at);
    if (extent.kind == ExtentKind::kUnallocated) {
      return CopyRange{RoundDown(at, cluster_size()), std::min(RoundUp(stop, cluster_size()), end)};
    }
    at = stop;
  }
  return CopyRange{end, end};
}

}  // namespace chainfs::jobs
