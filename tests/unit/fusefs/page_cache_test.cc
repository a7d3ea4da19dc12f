// SPDX-License-Identifier: Apache-2.0
//
// Which way openers of a disk go in (FS-12), and what is known of its pages.
#include "fusefs/page_cache.h"

#include <gtest/gtest.h>

namespace chainfs::fusefs {
namespace {

constexpr bool kDirectly = true;
constexpr bool kThroughTheCache = false;
constexpr bool kWrites = true;
constexpr bool kReads = false;

TEST(PageCache, OpenersGoTheirOwnWayWhereNothingIsAgainstIt) {
  PageCache pages;
  EXPECT_EQ(pages.Enter(kDirectly, kWrites), WayIn::kDirect);
  EXPECT_EQ(pages.Enter(kDirectly, kReads), WayIn::kDirect);
  EXPECT_EQ(pages.Enter(kThroughTheCache, kReads), WayIn::kCached) << "makes no page dirty";
  EXPECT_TRUE(pages.HasCachedOpeners());
  pages.Leave(WayIn::kCached, kReads);
  EXPECT_FALSE(pages.HasCachedOpeners());
}

TEST(PageCache, AWriterGoesPastTheCacheBesideThoseWhoDo) {
  PageCache pages;
  EXPECT_EQ(pages.Enter(kDirectly, kReads), WayIn::kDirect);
  EXPECT_EQ(pages.Enter(kThroughTheCache, kWrites), WayIn::kDirect);
  pages.Leave(WayIn::kDirect, kReads);
  EXPECT_EQ(pages.Enter(kThroughTheCache, kWrites), WayIn::kDirect) << "the other writer is left";
  pages.Leave(WayIn::kDirect, kWrites);
  pages.Leave(WayIn::kDirect, kWrites);
  EXPECT_EQ(pages.Enter(kThroughTheCache, kWrites), WayIn::kCached);
}

TEST(PageCache, NobodyGoesPastTheCacheBesideAWriterOfIt) {
  PageCache pages;
  EXPECT_EQ(pages.Enter(kThroughTheCache, kWrites), WayIn::kCached);
  EXPECT_EQ(pages.Enter(kDirectly, kWrites), WayIn::kCached);
  EXPECT_EQ(pages.Enter(kDirectly, kReads), WayIn::kCached);
  pages.Leave(WayIn::kCached, kReads);
  pages.Leave(WayIn::kCached, kWrites);
  pages.Leave(WayIn::kCached, kWrites);
  EXPECT_EQ(pages.Enter(kDirectly, kWrites), WayIn::kDirect);
}

TEST(PageCache, PagesMayBeThereUntilAllWereDroppedSinceTheLastFill) {
  PageCache pages;
  EXPECT_FALSE(pages.MayHoldPages());
  pages.Filled();
  const uint64_t fills = pages.fills();
  EXPECT_TRUE(pages.MayHoldPages());
  pages.Filled();
  pages.Dropped(fills);
  EXPECT_TRUE(pages.MayHoldPages()) << "one was filled meanwhile";
  pages.Dropped(pages.fills());
  EXPECT_FALSE(pages.MayHoldPages());
}

}  // namespace
}  // namespace chainfs::fusefs
