// SPDX-License-Identifier: Apache-2.0
//
// PeriodicFlush alone, with short intervals. What it is for is in tests/mount.
#include <chrono>
#include <functional>
#include <thread>

#include "fusefs/periodic_flush.h"
#include "tests/unit/fusefs/served_fixture.h"

namespace chainfs::fusefs {
namespace {

using namespace std::chrono_literals;

bool Eventually(const std::function<bool()>& condition) {
  const auto guard = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > guard) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

class FlushTimerTest : public ServedDiskTest {};

TEST_F(FlushTimerTest, WhatWasChangedIsFlushedAgainAndAgain) {
  PeriodicFlush flush(served_disks_, {.flush = 2ms, .retry = 2ms});
  flush.Start();
  for (const char with : {'a', 'b'}) {
    Write(with);
    EXPECT_TRUE(Eventually([this] { return !served_->disk->NeedsFlush(); })) << with;
  }
}

TEST_F(FlushTimerTest, NothingIsFlushedBeforeItsTime) {
  PeriodicFlush flush(served_disks_, {.flush = 1h, .retry = 1h});
  flush.Start();
  Write('a');
  std::this_thread::sleep_for(20ms);
  EXPECT_TRUE(served_->disk->NeedsFlush());
  const auto begin = std::chrono::steady_clock::now();
  flush.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30min) << "it does not wait for its turn";
  EXPECT_TRUE(served_->disk->NeedsFlush());
}

}  // namespace
}  // namespace chainfs::fusefs
