// SPDX-License-Identifier: Apache-2.0
//
// MergeSource: what of a disk is still to be merged, while guests make more of it; empty as soon as
// so little is left that it can be done while they wait. It also says how long a guest's write
// should wait so that this comes to pass.
//
// Terms: the *rest* is what may be left for the last round, by how fast regions are copied. The
// source is *close* to its end when no more than that is dirty, and all was copied once.
//
// Threads: Mark, WaitBeforeChange, Copied: any; the rest as WorkSource.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "jobs/engine/dirty_set.h"

namespace chainfs::jobs {

class MergeSource final : public WorkSource {
 public:
  using Clock = std::chrono::steady_clock;

  // As DirtySet.
  MergeSource(uint64_t size, uint64_t granularity);

  void Mark(uint64_t offset, uint64_t length);
  // A chunk of that many bytes is being copied as long as this lives; how long that took counts.
  class Copying {
   public:
    Copying(MergeSource& source, uint64_t bytes);
    ~Copying();
    Copying(const Copying&) = delete;
    Copying& operator=(const Copying&) = delete;

   private:
    MergeSource& source_;
    const uint64_t bytes_;
    const Clock::time_point began_;
  };
  // Sleeps while the guest is to be slowed, for a moment at most.
  void WaitBeforeChange() const;

  // As WorkSource, but nothing is left while it is close.
  std::optional<ChunkRange> Take(uint64_t most) override;
  void Finished(ChunkRange chunk) override { dirty_.Finished(chunk); }
  uint64_t left() const override;
  uint64_t total() const override;
  void SetNews(const std::function<void()>& news) override { news_ = news; }

  // For the last round: what is dirty, however little.
  std::optional<ChunkRange> TakeAny(uint64_t most) { return dirty_.Take(most); }
  // Whether the last round would be quick.
  bool Close() const;

 private:
  uint64_t Rest() const;
  bool IsBeingCopied() const;

  const uint64_t size_;
  DirtySet dirty_;
  std::function<void()> news_;                  // constant once something is taken
  std::atomic<bool> idle_ = false;              // somebody was told that there is nothing to take
  std::atomic<uint64_t> taken_ = 0;             // bytes, a region as often as it was taken
  std::atomic<uint64_t> bytes_per_second_ = 0;  // of one thread; 0: not known yet
  std::atomic<uint32_t> copying_ = 0;           // chunks in flight
  std::atomic<Clock::rep> copied_at_ = 0;       // when the last one ended
};

}  // namespace chainfs::jobs
