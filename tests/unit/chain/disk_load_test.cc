// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk_load.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

using namespace std::chrono_literals;

TEST(DiskLoad, LatenciesFallIntoPowersOfTwo) {
  LatencyCounts counts;
  counts.Add(900ns, 512);
  counts.Add(1us, 512);
  counts.Add(3us, 1024);
  counts.Add(1h, 0);
  EXPECT_EQ(counts.count(0), 1u);
  EXPECT_EQ(counts.count(1), 1u);
  EXPECT_EQ(counts.count(2), 1u);
  EXPECT_EQ(counts.count(LatencyCounts::kBuckets - 1), 1u);
  EXPECT_EQ(counts.operations(), 4u);
  EXPECT_EQ(counts.bytes(), 2048u);
  EXPECT_EQ(counts.total_ns(), uint64_t{3600} * 1000 * 1000 * 1000 + 4900);
}

TEST(DiskLoad, OneSlowRequestCountsForAWhile) {
  DiskLoad load;
  const DiskLoad::Time now = std::chrono::steady_clock::now();
  EXPECT_FALSE(load.UsersWait(now));
  load.NoteLatency(now - DiskLoad::kSlow + 1us, now);
  EXPECT_FALSE(load.UsersWait(now));
  load.NoteLatency(now - DiskLoad::kSlow, now);
  EXPECT_TRUE(load.UsersWait(now));
  load.NoteLatency(now, now + 1us);  // a quick one does not make up for it
  EXPECT_TRUE(load.UsersWait(now + DiskLoad::kLately - 1us));
  EXPECT_FALSE(load.UsersWait(now + DiskLoad::kLately));
}

}  // namespace
}  // namespace chainfs
