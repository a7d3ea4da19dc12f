// SPDX-License-Identifier: Apache-2.0
//
// IntentLog: notes durably, before a guest writes, that the region may differ from its copy, and
// takes the note back lazily, when both have been durable for as long as nobody wrote there again.
//
// Terms: a region is *marked* when it may differ. A *sweep* takes marks back: it begins by choosing
// regions that are the same and that nobody writes; then the caller makes source and target
// durable; it ends by taking back the marks of those that nobody began to write meanwhile.
//
// Crash ordering: a mark is durable before BeginWrite returns. That a mark is taken back need not
// be: one that comes back after a crash has a region copied once more.
//
// When marks cannot be made durable any more, the log is revoked: whoever takes the job up begins
// from zero. Only where that is impossible, too, the write that needed the mark fails.
//
// Threads: any. mu_ is never held across I/O; one at a time has the file (`writing_`), so an older
// sector never replaces a newer one. Many writers share one sync.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/engine/work_source.h"
#include "jobs/mirror/intent_file.h"

namespace chainfs::jobs {

class IntentLog {
 public:
  // What the bits of the file are worth.
  enum class Bits : uint8_t { kCount, kAllSet, kNoneSet };
  // `revoke` makes the file not count any more, durably; it may be called more than once.
  static Result<std::shared_ptr<IntentLog>> Load(std::unique_ptr<IntentFile> file, Bits bits,
                                                 std::function<Status()> revoke);

  IntentHeader header() const EXCLUDES(mu_);
  // Durable on return, after the marks.
  Status WriteHeader(const IntentHeader& header) EXCLUDES(mu_);

  // [offset, offset + length) is about to be written: its regions are marked, durably on return.
  // Each call, also one that fails, is followed by EndWrite of the same range, once what was
  // written is copied or is known to be copied again.
  Status BeginWrite(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  void EndWrite(uint64_t offset, uint64_t length) noexcept EXCLUDES(mu_);
  // Marks of regions with a byte of the range are not taken back any more: a copy failed.
  void Hold(uint64_t offset, uint64_t length) EXCLUDES(mu_);

  // Every region may differ. Durable with the next header.
  void MarkAll() EXCLUDES(mu_);
  // The marked regions, in runs.
  std::vector<ChunkRange> Marked() const EXCLUDES(mu_);

  using IsSame = std::function<bool(uint64_t offset, uint64_t length)>;
  // `same` says whether a range is copied; it takes no lock above mu_.
  std::vector<uint64_t> BeginSweep(const IsSame& same) EXCLUDES(mu_);
  Status EndSweep(std::span<const uint64_t> regions) EXCLUDES(mu_);

 private:
  struct Region {
    uint64_t batch = 0;      // whose sync makes the mark durable
    uint32_t in_flight = 0;  // writes
    bool written = false;    // since the sweep under way has begun
    bool held = false;
  };

  IntentLog(std::unique_ptr<IntentFile> file, std::function<Status()> revoke);
  bool IsMarked(uint64_t region) const REQUIRES(mu_);
  void SetMark(uint64_t region, bool marked) REQUIRES(mu_);
  ChunkRange RangeOf(uint64_t region) const;
  // First and one past the last region of a range, cut at the size.
  std::pair<uint64_t, uint64_t> RegionsOf(uint64_t offset, uint64_t length) const;
  Status WaitDurable(uint64_t batch) REQUIRES(mu_);
  // Writes what has changed and syncs it; lets go of mu_ meanwhile.
  Status WriteBatch() REQUIRES(mu_);
  Status Revoke() REQUIRES(mu_);

  const std::unique_ptr<IntentFile> file_;  // used by whoever has set writing_
  const std::function<Status()> revoke_;
  const uint64_t size_;
  const uint64_t region_size_;

  mutable Mutex mu_;
  CondVar changed_;
  bool writing_ GUARDED_BY(mu_) = false;
  bool revoked_ GUARDED_BY(mu_) = false;
  uint64_t open_batch_ GUARDED_BY(mu_) = 1;  // the marks that are set now belong to it
  uint64_t durable_batch_ GUARDED_BY(mu_) = 0;
  IntentHeader header_ GUARDED_BY(mu_);
  std::vector<Region> regions_ GUARDED_BY(mu_);
  std::vector<IntentFile::Sector> bits_ GUARDED_BY(mu_);
  std::vector<bool> changed_sectors_ GUARDED_BY(mu_);  // not in the file as they are here
};

}  // namespace chainfs::jobs
