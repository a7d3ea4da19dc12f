// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/layer_claims.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

const LayerPtr kA = std::make_shared<Layer>();
const LayerPtr kB = std::make_shared<Layer>();

struct Case {
  const char* name;
  Layers LayerClaims::* first;
  Layers LayerClaims::* second;
  bool conflict;
};

TEST(LayerClaims, EveryPairIsDecided) {
  constexpr Layers LayerClaims::* kReads = &LayerClaims::reads;
  constexpr Layers LayerClaims::* kFills = &LayerClaims::fills;
  constexpr Layers LayerClaims::* kWrites = &LayerClaims::writes;
  constexpr Layers LayerClaims::* kDrops = &LayerClaims::drops;
  for (const Case& c : {Case{"reads-reads", kReads, kReads, false},
                        {"reads-fills", kReads, kFills, false},
                        {"reads-drops", kReads, kDrops, false},
                        {"drops-drops", kDrops, kDrops, false},
                        {"fills-fills", kFills, kFills, true},
                        {"fills-drops", kFills, kDrops, true},
                        {"writes-reads", kWrites, kReads, true},
                        {"writes-fills", kWrites, kFills, true},
                        {"writes-writes", kWrites, kWrites, true},
                        {"writes-drops", kWrites, kDrops, true}}) {
    LayerClaims a;
    LayerClaims b;
    a.*c.first = {kA};
    b.*c.second = {kB, kA};
    EXPECT_EQ(Conflict(a, b), c.conflict) << c.name;
    EXPECT_EQ(Conflict(b, a), c.conflict) << c.name;
    b.*c.second = {kB};
    EXPECT_FALSE(Conflict(a, b)) << c.name;
  }
}

}  // namespace
}  // namespace chainfs::jobs
