// SPDX-License-Identifier: Apache-2.0
//
// CursorSource: walks forward from 0 to the end, once.
//
// Threads: as WorkSource.
#pragma once

#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class CursorSource final : public WorkSource {
 public:
  explicit CursorSource(uint64_t length) : length_(length) {}

  std::optional<ChunkRange> Take(uint64_t most) override;
  uint64_t left() const override { return length_ - next_; }
  uint64_t total() const override { return length_; }

 private:
  const uint64_t length_;
  uint64_t next_ = 0;
};

}  // namespace chainfs::jobs
