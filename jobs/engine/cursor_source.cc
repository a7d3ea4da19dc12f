// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/cursor_source.h"

#include <algorithm>

namespace chainfs::jobs {

std::optional<ChunkRange> CursorSource::Take(uint64_t most) {
  if (next_ == length_) return std::nullopt;
  const ChunkRange chunk{next_, std::min(most, length_ - next_)};
  next_ += chunk.length;
  return chunk;
}

}  // namespace chainfs::jobs
