// SPDX-License-Identifier: Apache-2.0
//
// What a type adds to the cache by telling what is in use; the rest is tested with decoded
// clusters.
#include "blocklayer/cache/single_flight_cache.h"

#include <gtest/gtest.h>

#include <memory>

namespace chainfs {
namespace {

struct Held {
  std::shared_ptr<int> value;
  uint64_t MemoryBytes() const { return 1000; }
  bool InUse() const { return value.use_count() > 1; }
};
using HeldCache = SingleFlightCache<Held>;
constexpr uint64_t kEach = 1000 + HeldCache::kEntryOverhead;

class SingleFlightCacheInUse : public ::testing::Test {
 protected:
  std::shared_ptr<int> Get(HeldCache& cache, uint64_t number) {
    const Result<Held> held = cache.Get({1, number}, [&]() -> Result<Held> {
      ++made_;
      return Held{std::make_shared<int>(static_cast<int>(number))};
    });
    EXPECT_TRUE(held);
    return held->value;
  }
  int made_ = 0;
};

TEST_F(SingleFlightCacheInUse, WhatIsHeldStaysOnTopOfTheLimit) {
  HeldCache cache(2 * kEach, 1);
  std::vector<std::shared_ptr<int>> held;
  for (uint64_t i = 0; i < 10; ++i) held.push_back(Get(cache, i));
  EXPECT_EQ(cache.Count().entries, 10u);
  for (uint64_t i = 0; i < 10; ++i) EXPECT_EQ(Get(cache, i), held[i]) << "there is one of each";
  EXPECT_EQ(made_, 10);
  held.clear();
  Get(cache, 10);
  EXPECT_LE(cache.Count().used_bytes, 2 * kEach) << "and goes when it is let go";
}

TEST_F(SingleFlightCacheInUse, WhatIsTooLargeIsKeptWhileItIsHeld) {
  HeldCache cache(0, 1);
  const std::shared_ptr<int> held = Get(cache, 1);
  EXPECT_EQ(Get(cache, 1), held);
  EXPECT_EQ(made_, 1);
}

TEST_F(SingleFlightCacheInUse, ASmallerLimitHoldsFromTheNextValueOn) {
  HeldCache cache(10 * kEach, 1);
  for (uint64_t i = 0; i < 10; ++i) Get(cache, i);
  EXPECT_EQ(cache.Count().entries, 10u);
  cache.SetLimit(3 * kEach);
  Get(cache, 10);
  EXPECT_EQ(cache.Count().entries, 3u);
  Get(cache, 9);
  EXPECT_EQ(made_, 11) << "the coldest went";
}

TEST_F(SingleFlightCacheInUse, WhatIsForgottenIsMadeAnew) {
  HeldCache cache(10 * kEach, 1);
  const std::shared_ptr<int> old = Get(cache, 1);
  cache.Forget({1, 1});
  cache.Forget({1, 2});
  EXPECT_NE(Get(cache, 1), old);
  EXPECT_EQ(*old, 1) << "who holds it keeps it";
}

}  // namespace
}  // namespace chainfs
