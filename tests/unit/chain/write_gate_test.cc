// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/write_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace chainfs {
namespace {

TEST(WriteGate, WhoClosesItIsAloneAndGetsThroughConstantPassing) {
  WriteGate gate;
  std::atomic<bool> stop = false;
  std::atomic<int> inside = 0;
  std::atomic<bool> closed = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const WriteGate::Passage passage(gate);
        ++inside;
        EXPECT_FALSE(closed);
        --inside;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    const WriteGate::Closure closure(gate);
    closed = true;
    EXPECT_EQ(inside, 0);
    closed = false;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace chainfs
