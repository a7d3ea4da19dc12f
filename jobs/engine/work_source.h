// SPDX-License-Identifier: Apache-2.0
//
// WorkSource: which bytes a job has still to process, and so where its next chunk comes from. A
// source may walk forward once (cursor_source.h), or be a set that guests add to while the job runs
// (dirty_set.h).
//
// Threads: the scheduler calls everything but SetNews from one thread at a time and with its lock
// held, so a source must be quick and call nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

namespace chainfs::jobs {

// Bytes of what the job walks.
struct ChunkRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool operator==(const ChunkRange&) const = default;
};

class WorkSource {
 public:
  virtual ~WorkSource() = default;

  // The next chunk, at most `most` bytes, which is a multiple of the work's unit. It is not given
  // again unless somebody adds it again. Nothing when there is none just now.
  virtual std::optional<ChunkRange> Take(uint64_t most) = 0;
  // A chunk that was taken will not be tried again.
  virtual void Finished(ChunkRange /*chunk*/) {}
  virtual uint64_t left() const = 0;   // bytes that nobody has taken
  virtual uint64_t total() const = 0;  // bytes that were ever to be processed; never shrinks
  // Once, before anything is taken. `news` is called when there is something to take again after
  // there was nothing: any thread, no lock of the source's held, until the job has ended.
  virtual void SetNews(const std::function<void()>& /*news*/) {}
};

}  // namespace chainfs::jobs
