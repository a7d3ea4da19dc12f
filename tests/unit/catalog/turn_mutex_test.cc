// SPDX-License-Identifier: Apache-2.0
//
// A scan lets those go first who wait for a turn, and nobody else makes it pause.
#include "blocklayer/catalog/turn_mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace chainfs {
namespace {

TEST(TurnMutexTest, WhereNobodyWaitsNothingIsLetIn) {
  TurnMutex mu;
  const MutexLock lock(mu);
  EXPECT_FALSE(mu.LetOthersIn());
}

TEST(TurnMutexTest, WhoeverWaitsHasItsTurnBeforeTheHolderGoesOn) {
  TurnMutex mu;
  std::atomic<bool> had_turn = false;
  mu.Lock();
  std::thread other([&] {
    const Turn turn(mu);
    had_turn = true;
  });
  // It takes a moment until the other thread waits.
  while (!mu.LetOthersIn()) std::this_thread::yield();
  EXPECT_TRUE(had_turn);
  mu.Unlock();
  other.join();
}

}  // namespace
}  // namespace chainfs
