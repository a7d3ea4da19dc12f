// SPDX-License-Identifier: Apache-2.0
//
// ChunkQueue: which chunk of a job comes next, how large it is, and how far the job has got. It
// takes from the work's source, or a chunk that failed and is to be tried again; keeps to the speed
// limit; and fits the size of chunks to how fast the storage is, because a chunk in flight is what
// a pause waits for.
//
// It keeps JOB-2 of README.md.
//
// Threads: none; the owner locks.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "jobs/engine/rate_meter.h"
#include "jobs/engine/throttle.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class ChunkQueue {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `source` is used until Close. Chunks are multiples of `unit` bytes, at most `largest`.
  ChunkQueue(WorkSource& source, uint64_t unit, uint64_t largest);

  // ---- Taking.
  bool WorkLeft() const;
  bool AnythingTaken() const { return taken_; }
  uint64_t ChunksLeft() const;  // by their present size; rounded up
  bool MayStart(Time now) const { return now >= rest_until_ && throttle_.MayStart(now); }
  // When MayStart becomes true.
  Time ready_at() const { return std::max(rest_until_, throttle_.ready_at()); }
  void RestUntil(Time time) { rest_until_ = time; }
  // Nothing when no work is left; not to be called unless MayStart.
  std::optional<ChunkRange> Take(Time now);

  // ---- What became of a chunk.
  // What of it was not copied is not charged to the limit. For every chunk, first of all.
  void Refund(ChunkRange chunk, uint64_t copied);
  void Done(ChunkRange chunk, uint64_t copied, Time began, Time now);
  void GiveUp(ChunkRange chunk);    // counts as progress
  void TryAgain(ChunkRange chunk);  // may throw std::bad_alloc; nothing has happened then

  // ---- Speed and progress.
  uint64_t speed() const { return throttle_.speed(); }  // bytes per second; 0: no limit
  void SetSpeed(uint64_t bytes_per_second, Time now) { throttle_.SetSpeed(bytes_per_second, now); }
  void RestartMeter(Time now) { meter_.Restart(done_, copied_, now); }
  uint64_t Rate() const { return meter_.Rate(); }  // copied bytes per second
  std::optional<uint64_t> Eta() const { return meter_.Eta(total() - done_); }  // seconds
  uint64_t done() const { return done_; }      // bytes of chunks that are over
  uint64_t copied() const { return copied_; }  // bytes
  uint64_t total() const;                      // bytes

  // The source is used no more; the total stays what it was.
  void Close();

 private:
  uint64_t NextLength() const;

  WorkSource* source_;  // null once closed
  const uint64_t unit_;
  const uint64_t largest_;
  uint64_t chunk_size_;
  bool taken_ = false;
  std::vector<ChunkRange> again_;  // taken, failed, to be tried again
  uint64_t done_ = 0;
  uint64_t copied_ = 0;
  uint64_t last_total_ = 0;  // once closed
  Time rest_until_;
  Throttle throttle_;
  RateMeter meter_;
};

}  // namespace chainfs::jobs
