// SPDX-License-Identifier: Apache-2.0
//
// DirtySet: regions that are to be processed, to which guests add while the job runs. A region that
// is marked again while it is being processed comes again, but only after the first time is over:
// two lanes never have the same region, so an older copy of it cannot overtake a newer one.
//
// Threads: Mark from any thread, also in the path of a guest's write; the rest as WorkSource.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

class DirtySet final : public WorkSource {
 public:
  // `size` bytes in regions of `granularity` bytes (a power of two); the last one may be shorter.
  // None is dirty.
  DirtySet(uint64_t size, uint64_t granularity);

  // Every region that has a byte of [offset, offset + length), cut at the size, is dirty.
  // Needs no memory, though `news` may.
  void Mark(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // Whether no region that has a byte of the range is dirty, or being processed.
  bool IsClean(uint64_t offset, uint64_t length) const EXCLUDES(mu_);

  std::optional<ChunkRange> Take(uint64_t most) override EXCLUDES(mu_);
  void Finished(ChunkRange chunk) override EXCLUDES(mu_);
  uint64_t left() const override EXCLUDES(mu_);
  uint64_t total() const override EXCLUDES(mu_);
  void SetNews(const std::function<void()>& news) override EXCLUDES(mu_);

 private:
  struct Region {
    bool dirty = false;
    bool taken = false;  // by a lane, which has not finished it
  };
  uint64_t BytesOf(uint64_t region) const;
  bool MayTake(uint64_t region) const REQUIRES(mu_);

  const uint64_t size_;
  const uint64_t granularity_;
  mutable Mutex mu_;
  std::vector<Region> regions_ GUARDED_BY(mu_);
  uint64_t next_ GUARDED_BY(mu_) = 0;  // region at which the next search begins
  uint64_t left_ GUARDED_BY(mu_) = 0;
  uint64_t total_ GUARDED_BY(mu_) = 0;
  std::shared_ptr<const std::function<void()>> news_ GUARDED_BY(mu_);  // null: nobody listens
};

}  // namespace chainfs::jobs
