// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/throttle.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

using namespace std::chrono_literals;
constexpr uint64_t kMiB = 1 << 20;
const Throttle::Time kStart{1000s};

TEST(Throttle, WithoutLimitNothingWaits) {
  Throttle throttle;
  throttle.Charge(1'000'000 * kMiB, kStart);
  EXPECT_TRUE(throttle.MayStart(kStart));
}

TEST(Throttle, KeepsToTheLimitOverTime) {
  Throttle throttle;
  throttle.SetSpeed(10 * kMiB, kStart);
  Throttle::Time now = kStart;
  uint64_t copied = 0;
  while (now < kStart + 10s) {
    if (throttle.MayStart(now)) {
      throttle.Charge(kMiB, now);
      copied += kMiB;
    }
    now += 7ms;
  }
  EXPECT_LE(copied, 102 * kMiB);
  EXPECT_GE(copied, 98 * kMiB);
}

TEST(Throttle, OnlyWhatIsNotGivenBackCounts) {
  Throttle throttle;
  throttle.SetSpeed(kMiB, kStart);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(throttle.MayStart(kStart)) << i;
    throttle.Charge(kMiB, kStart);
    EXPECT_FALSE(throttle.MayStart(kStart));
    throttle.Refund(kMiB);
  }
}

TEST(Throttle, IdleTimeEarnsAtMostOneSlice) {
  Throttle throttle;
  throttle.SetSpeed(10 * kMiB, kStart);
  const Throttle::Time later = kStart + 1h;
  throttle.Charge(2 * kMiB, later);
  EXPECT_EQ(throttle.ready_at(), later + 100ms);
}

TEST(Throttle, ANewLimitForgetsOldDebts) {
  Throttle throttle;
  throttle.SetSpeed(1, kStart);
  throttle.Charge(kMiB, kStart);
  EXPECT_FALSE(throttle.MayStart(kStart + 1h));
  throttle.SetSpeed(0, kStart);
  EXPECT_TRUE(throttle.MayStart(kStart));
  throttle.SetSpeed(UINT64_MAX, kStart);
  throttle.Charge(UINT64_MAX, kStart);
  EXPECT_TRUE(throttle.MayStart(kStart + 2s));
}

}  // namespace
}  // namespace chainfs::jobs
