// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_window.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace chainfs::qcow2 {
namespace {

TEST(ReferenceWindow, CountsFromItsFirstClusterOn) {
  ReferenceWindow window(1 << 10);
  EXPECT_EQ(window.capacity(), 512U);
  window.Reset(100, 10);
  EXPECT_FALSE(window.Has(99));
  EXPECT_TRUE(window.Has(100));
  EXPECT_FALSE(window.Has(110));
  window.Refer(103, ClusterUse::kData);
  window.Refer(103, ClusterUse::kData);
  window.NoteSingle(104);
  EXPECT_EQ(window.References(103), 2U);
  EXPECT_EQ(window.References(104), 0U);
  EXPECT_TRUE(window.Single(104));
  EXPECT_FALSE(window.Single(103));
  window.Reset(100, 10);
  EXPECT_EQ(window.References(103), 0U);
  EXPECT_FALSE(window.Single(104));
}

TEST(ReferenceWindow, CountsMoreReferencesThanFitIntoASlot) {
  ReferenceWindow window(1 << 10);
  window.Reset(0, 4);
  window.NoteSingle(1);
  for (int i = 0; i < 70000; ++i) window.Refer(1, ClusterUse::kData);
  EXPECT_EQ(window.References(1), 70000U);
  EXPECT_TRUE(window.Single(1));
  EXPECT_FALSE(window.Overlaps(1));
  EXPECT_EQ(window.References(0), 0U);
  EXPECT_EQ(window.References(2), 0U);
  EXPECT_FALSE(window.overflowed());
}

TEST(ReferenceWindow, KnowsWhichUsesExcludeEachOther) {
  ReferenceWindow window(1 << 10);
  window.Reset(0, 8);
  for (int i = 0; i < 2; ++i) {
    window.Refer(0, ClusterUse::kData);
    window.Refer(1, ClusterUse::kL2Table);
    window.Refer(2, ClusterUse::kAlone);
  }
  window.Refer(3, ClusterUse::kAlone);
  window.Refer(4, ClusterUse::kData);
  window.Refer(4, ClusterUse::kL2Table);
  EXPECT_FALSE(window.Overlaps(0));  // shared by tables
  EXPECT_FALSE(window.Overlaps(1));  // shared by snapshots
  EXPECT_TRUE(window.Overlaps(2));
  EXPECT_FALSE(window.Overlaps(3));
  EXPECT_TRUE(window.Overlaps(4));
}

TEST(ReferenceWindow, ThreadsCountAtOnce) {
  ReferenceWindow window(1 << 10);
  window.Reset(0, 2);
  constexpr uint64_t kTimes = 20000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < kTimes; ++i) window.Refer(i % 2, ClusterUse::kData);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(window.References(0), 2 * kTimes);
  EXPECT_EQ(window.References(1), 2 * kTimes);
}

}  // namespace
}  // namespace chainfs::qcow2
