// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/cursor_source.h"

#include <algorithm>

namespace chainfs::jobs {

std::optional<ChunkRange> CursorSource::Take(uint64_t most) {
  if (next_ == length_) return std::nullopt;
  // Ends at multiples, so that a run of data is not cut in two.
  const uint64_t end = std::min(length_, next_ - next_ % most + most);
  const ChunkRange chunk{next_, end - next_};
  next_ += chunk.length;
  return chunk;
}

}  // namespace chainfs::jobs
