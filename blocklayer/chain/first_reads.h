// SPDX-License-Identifier: Apache-2.0
//
// FirstReads: which granules of a disk its users have read, in the order in which they first did.
// Bounded: once it is full, what is read further goes unnoticed, until all that it holds has been
// handed out; then it begins anew, and may name again what it has named before.
//
// It is a hint and no record: two reads at once come in either order, and in the moment when it
// begins anew one may be lost.
//
// Threads: AfterRead any, without waiting for anybody. Next one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "blocklayer/chain/read_tap.h"

namespace chainfs {

class FirstReads final : public ReadTap {
 public:
  static constexpr uint64_t kGranule = 64 << 10;  // bytes

  // At most `capacity` granules, a power of two. Takes 40 bytes for each.
  explicit FirstReads(uint32_t capacity);

  void AfterRead(GuestOffset offset, uint64_t length) noexcept override;
  // Where the granule begins that was read first of those not handed out yet.
  std::optional<GuestOffset> Next();

 private:
  // Numbers of granules are kept plus one; 0: nothing.
  using Slot = std::atomic<uint64_t>;

  bool IsNew(uint64_t entry) noexcept;
  void BeginAnew();

  const uint32_t capacity_;
  std::vector<Slot> order_;
  std::vector<Slot> known_;          // the same as a hash table, so that each comes once
  std::atomic<uint64_t> count_ = 0;  // places of order_ that were given away, or more
  uint32_t next_ = 0;                // the first of them that was not handed out
};

}  // namespace chainfs
