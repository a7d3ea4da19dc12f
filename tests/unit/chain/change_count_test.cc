// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/change_count.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(ChangeCount, AFlushCoversWhatCameBeforeIt) {
  ChangeCount count;
  EXPECT_FALSE(count.AnyUnflushed());
  count.Add();
  const uint64_t first = count.Get();
  count.Add();
  count.Covered(first);
  EXPECT_TRUE(count.AnyUnflushed());
  count.Covered(count.Get());
  EXPECT_FALSE(count.AnyUnflushed());
  count.Covered(first);  // one that began earlier ends later
  EXPECT_FALSE(count.AnyUnflushed());
}

TEST(ChangeCount, TimesBefore1970AreKeptToo) {
  ChangeCount count;
  for (const timespec time :
       {timespec{.tv_sec = 5, .tv_nsec = 7}, timespec{.tv_sec = -2, .tv_nsec = 999'999'999},
        timespec{.tv_sec = -1, .tv_nsec = 0}}) {
    count.SetModified(time);
    EXPECT_EQ(count.modified().tv_sec, time.tv_sec);
    EXPECT_EQ(count.modified().tv_nsec, time.tv_nsec);
  }
  count.SetModifiedNow();
  EXPECT_GT(count.modified().tv_sec, 1'700'000'000);
}

}  // namespace
}  // namespace chainfs
