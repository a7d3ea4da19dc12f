// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/range_lock.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "tests/support/random.h"

namespace chainfs {
namespace {

TEST(RangeLockTest, NeighboursDoNotMeet) {
  RangeLock lock;
  const RangeLock::Holder low(lock, GuestOffset(0), 4096);
  const RangeLock::Holder high(lock, GuestOffset(4096), 4096);  // would wait for ever if they did
}

TEST(RangeLockTest, AnOverlapWaits) {
  RangeLock lock;
  std::optional<RangeLock::Holder> held;
  held.emplace(lock, GuestOffset(0), 8192);
  std::atomic<bool> released = false;
  std::jthread waiter([&] {
    const RangeLock::Holder holder(lock, GuestOffset(4096), 8192);
    EXPECT_TRUE(released.load());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  released.store(true);
  held.reset();
}

TEST(RangeLockTest, ExcludesWhoeverOverlaps) {
  RangeLock lock;
  constexpr size_t kUnits = 32;
  std::array<int, kUnits> inside = {};  // guarded by the range lock, which TSan then checks
  Random seeds;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, random = seeds.Fork()]() mutable {
      for (int i = 0; i < 2000; ++i) {
        const size_t begin = random.Below(kUnits);
        const size_t end = begin + 1 + random.Below(kUnits - begin);
        const RangeLock::Holder holder(lock, GuestOffset(begin), end - begin);
        for (size_t unit = begin; unit < end; ++unit) ASSERT_EQ(inside[unit]++, 0);
        for (size_t unit = begin; unit < end; ++unit) --inside[unit];
      }
    });
  }
}

}  // namespace
}  // namespace chainfs
