// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/rate_meter.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

using namespace std::chrono_literals;
constexpr uint64_t kMiB = 1 << 20;
const RateMeter::Time kStart{1000s};

TEST(RateMeter, MeasuresCopiedBytesAndPredictsFromProgress) {
  RateMeter meter;
  meter.Restart(0, 0, kStart);
  EXPECT_EQ(meter.Rate(), 0u);
  EXPECT_FALSE(meter.Eta(100).has_value());
  // Half of what it passes is copied.
  for (int i = 1; i <= 100; ++i) {
    meter.Add(static_cast<uint64_t>(i) * kMiB, static_cast<uint64_t>(i) * kMiB / 2,
              kStart + i * 100ms);
  }
  EXPECT_NEAR(static_cast<double>(meter.Rate()), 5.0 * kMiB, kMiB / 10);
  ASSERT_TRUE(meter.Eta(100 * kMiB).has_value());
  EXPECT_NEAR(static_cast<double>(*meter.Eta(100 * kMiB)), 10, 1);
  EXPECT_EQ(*meter.Eta(0), 0u);
}

}  // namespace
}  // namespace chainfs::jobs
