// SPDX-License-Identifier: Apache-2.0
//
// The stamp oracle. Every 512-byte sector that a test writes says whose it is: disk, LBA, number of
// the write, checksum. SectorModel knows for each sector which values it may hold: a register that
// may be written concurrently and that a crash may set back, but not behind the last completed
// flush.
//
// Terms: an operation is issued (Begin...) and completed (End); what never ends (it failed, or the
// crash came first) may or may not have happened, for ever. A value is allowed unless another write
// or zeroing of the sector was issued after it completed and itself completed before the floor. The
// floor is the issue of the last flush that completed (after a crash), or the begin of the read.
// A read of the running disk that races with a write may see a sector torn, some bytes old and some
// new, as with any file; each byte must then be that of a value which is allowed.
//
// Time is the index of events in a recording, so that one run answers for every crash point:
//   SectorModel model(1, 2048, [&](std::string what, bool raises) {
//     return raises ? host->Mark(what) : host->Note(what); });
//   auto write = model.BeginWrite(lba, buffer);  disk.Write(...);  model.End(write);
//   auto flush = model.BeginFlush();             disk.Flush();     model.End(flush);
//   ...
//   EXPECT_EQ(model.CheckCrash(state.point, lba, contents), "");
// Without a clock it counts by itself.
//
// Threads: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/base/sync.h"

namespace chainfs {

inline constexpr size_t kStampSize = 512;

struct Stamp {
  uint32_t disk = 0;
  uint64_t lba = 0;
  uint64_t sequence = 0;
  bool operator==(const Stamp&) const = default;
};

// `sector` is kStampSize bytes.
void FillStamp(const Stamp& stamp, std::span<std::byte> sector);
// Nothing if it is not an intact stamp.
std::optional<Stamp> ParseStamp(std::span<const std::byte> sector);
bool IsZero(std::span<const std::byte> data);

class SectorModel {
 public:
  // Called with the model's lock held. `raises`: what happens narrows what is allowed from now on.
  using Clock = std::function<uint64_t(std::string what, bool raises)>;
  // An operation under way.
  struct Ticket {
    size_t index = 0;
  };

  // All sectors begin as zeros, durably.
  SectorModel(uint32_t disk, uint64_t sectors, Clock clock = {});

  uint64_t sectors() const { return sectors_; }
  // What is durable at the start: fills `data`, to be written to the image by the test.
  void Preload(uint64_t lba, std::span<std::byte> data);

  // Fills `data` (whole sectors) with new stamps for the sectors from `lba`.
  Ticket BeginWrite(uint64_t lba, std::span<std::byte> data);
  // The sectors will read as zeros.
  Ticket BeginZero(uint64_t lba, uint64_t count);
  // The sectors may read as zeros, or not.
  Ticket BeginDiscard(uint64_t lba, uint64_t count);
  Ticket BeginFlush();
  // It has succeeded. Operations that failed are simply never ended.
  void End(Ticket ticket);

  // The moment from which a read may be served; for CheckRead.
  uint64_t BeginRead();

  // What is wrong with `data`, read from `lba` of the recovered state of crash point `point`; empty
  // if nothing. `point` UINT64_MAX: after all that happened.
  std::string CheckCrash(uint64_t point, uint64_t lba, std::span<const std::byte> data) const;
  // The same for a read of the running disk that began at `begin`.
  std::string CheckRead(uint64_t begin, uint64_t lba, std::span<const std::byte> data) const;
  // After the crash of a real run: continues from what was found, which must have passed.
  void AcceptAsDurable(uint64_t lba, std::span<const std::byte> data);

 private:
  enum class What : uint8_t { kWrite, kZero, kDiscard, kFlush };
  struct Operation {
    What what = What::kWrite;
    uint64_t lba = 0;
    uint64_t count = 0;
    uint64_t first_sequence = 0;  // of kWrite; one a sector
    int64_t issued = 0;
    int64_t completed = INT64_MAX;
  };
  // One value that a sector was given.
  struct Value {
    size_t operation = 0;
    uint64_t sequence = 0;  // 0: zeros
  };
  struct Sector {
    uint64_t initial = 0;  // sequence, 0 for zeros
    std::vector<Value> values;
  };

  Ticket Begin(What what, uint64_t lba, uint64_t count, uint64_t first_sequence) REQUIRES(mutex_);
  int64_t Now(const char* what, uint64_t lba, uint64_t count, bool raises) REQUIRES(mutex_);
  int64_t FloorAt(int64_t point) const REQUIRES(mutex_);
  enum class Torn : uint8_t { kRefused, kAllowed };
  std::string Check(int64_t floor, int64_t until, uint64_t lba, std::span<const std::byte> data,
                    Torn torn) const REQUIRES(mutex_);
  // Whether every byte is that of one of the `allowed` values.
  bool IsMixOf(const std::vector<uint64_t>& allowed, uint64_t lba,
               std::span<const std::byte> sector) const;
  // The sequences that sector `lba` may hold, the oldest first.
  std::vector<uint64_t> Allowed(int64_t floor, int64_t until, uint64_t lba) const REQUIRES(mutex_);
  std::string Explain(int64_t floor, int64_t until, uint64_t lba,
                      std::span<const std::byte> sector) const REQUIRES(mutex_);

  const uint32_t disk_;
  const uint64_t sectors_;
  const Clock clock_;
  mutable Mutex mutex_;
  uint64_t next_time_ GUARDED_BY(mutex_) = 0;
  uint64_t next_sequence_ GUARDED_BY(mutex_) = 1;
  std::vector<Operation> operations_ GUARDED_BY(mutex_);
  std::vector<Sector> state_ GUARDED_BY(mutex_);
};

}  // namespace chainfs
