// SPDX-License-Identifier: Apache-2.0
//
// HotSource: gives every byte from 0 to the end once, those that users need soonest first: what a
// trace names, in its order; then what users of the disk have read since; then what follows that;
// then the rest, forward. So a guest soon finds in the layer that is filled what it works with.
//
// Terms: *ahead* is what was taken beyond the place that the forward walk has reached. It is a
// bounded list of ranges; while that is full, only the walk goes on. A *window* is the range that
// follows a read: its neighbours.
//
// What it does not do: it keeps nothing over a restart. The next daemon gives everything again, and
// what is there already is passed quickly.
//
// Threads: as WorkSource. The reads come in by FirstReads, whose Next is this one's to call.
#pragma once

#include <memory>
#include <vector>

#include "blocklayer/chain/first_reads.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class HotSource final : public WorkSource {
 public:
  static constexpr uint64_t kWindow = 8 << 20;  // bytes
  // Of windows the newest count, and of ranges ahead no more are remembered.
  static constexpr size_t kMostWindows = 64;
  static constexpr size_t kMostAhead = 8192;

  // `length` bytes; chunks begin at multiples of `unit`, a power of two, and end at one or at the
  // end. `trace`: ranges in bytes, which may lie beyond the end, or upon one another.
  HotSource(uint64_t length, uint64_t unit, std::shared_ptr<FirstReads> reads,
            std::vector<ChunkRange> trace = {});

  std::optional<ChunkRange> Take(uint64_t most) override;
  uint64_t left() const override { return length_ - taken_; }
  uint64_t total() const override { return length_; }
  // Bytes that were not taken by the forward walk.
  uint64_t taken_early() const { return taken_early_; }

 private:
  std::optional<ChunkRange> TakeAhead(uint64_t most);
  // The next chunk of what is left of `range`; nothing when all was taken.
  std::optional<ChunkRange> TakeOf(ChunkRange range, uint64_t most);
  std::optional<ChunkRange> LeftOf(ChunkRange range, uint64_t most) const;
  void Remember(ChunkRange chunk);
  void OpenWindow(uint64_t offset);

  const uint64_t length_;
  const uint64_t unit_;
  const std::shared_ptr<FirstReads> reads_;
  const std::vector<ChunkRange> trace_;
  size_t trace_next_ = 0;            // the first range of the trace that may have something left
  ChunkRange hot_;                   // the read that is being copied; empty: none
  std::vector<ChunkRange> windows_;  // the newest last
  std::vector<ChunkRange> ahead_;    // in order, not touching one another, beyond next_
  uint64_t next_ = 0;                // everything before was taken
  uint64_t taken_ = 0;               // bytes
  uint64_t taken_early_ = 0;         // bytes
};

}  // namespace chainfs::jobs
