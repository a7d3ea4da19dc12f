// SPDX-License-Identifier: Apache-2.0
//
// IoEpoch: what is dereferenced in epoch n is not reused while anybody who entered before can still
// read it.
#include "blocklayer/image/io_epoch.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "tests/support/random.h"

namespace chainfs {
namespace {

TEST(IoEpochTest, AdvancesFreelyWhenIdle) {
  IoEpoch epoch;
  for (uint64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(epoch.epoch(), i);
    EXPECT_TRUE(epoch.TryAdvance());
  }
}

TEST(IoEpochTest, AGuardHoldsTheEpochAfterItsOwn) {
  IoEpoch epoch;
  std::optional<IoEpoch::Guard> guard(epoch.Enter());
  const uint64_t dereferenced = epoch.epoch();
  EXPECT_TRUE(epoch.TryAdvance());
  EXPECT_FALSE(epoch.TryAdvance());
  EXPECT_LT(epoch.epoch(), dereferenced + 2);
  guard.reset();
  EXPECT_TRUE(epoch.TryAdvance());
  EXPECT_EQ(epoch.epoch(), dereferenced + 2);
}

TEST(IoEpochTest, LaterGuardsDoNotHoldForEver) {
  IoEpoch epoch;
  std::optional<IoEpoch::Guard> first(epoch.Enter());
  EXPECT_TRUE(epoch.TryAdvance());
  const IoEpoch::Guard second = epoch.Enter();
  first.reset();
  EXPECT_TRUE(epoch.TryAdvance());   // nobody is left under the first
  EXPECT_FALSE(epoch.TryAdvance());  // the second is in the way now
}

TEST(IoEpochTest, AMovedGuardCountsOnce) {
  IoEpoch epoch;
  {
    IoEpoch::Guard guard = epoch.Enter();
    const IoEpoch::Guard moved = std::move(guard);
  }
  EXPECT_TRUE(epoch.TryAdvance());
  EXPECT_TRUE(epoch.TryAdvance());
}

// Readers follow a pointer that the writer exchanges; the writer poisons a cell only when the epoch
// says that nobody can look at it any more.
TEST(IoEpochTest, NobodySeesAReusedCell) {
  constexpr uint64_t kPoison = UINT64_MAX;
  IoEpoch epoch;
  std::vector<std::atomic<uint64_t>> cells(64);
  for (size_t i = 0; i < cells.size(); ++i) cells[i] = i;
  std::atomic<size_t> current = 0;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> bad = 0;

  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const IoEpoch::Guard guard = epoch.Enter();
        const size_t cell = current.load();
        for (int again = 0; again < 20; ++again) {
          if (cells[cell].load() != cell) bad.fetch_add(1);
        }
      }
    });
  }
  for (uint64_t round = 0; round < 300; ++round) {
    const size_t old = current.load();
    current.store((old + 1) % cells.size());
    const uint64_t dereferenced = epoch.epoch();
    while (epoch.epoch() < dereferenced + 2) {
      if (!epoch.TryAdvance()) std::this_thread::yield();
    }
    cells[old].store(kPoison);
    cells[old].store(old);  // ready to be used once more
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(bad.load(), 0u);
}

}  // namespace
}  // namespace chainfs
