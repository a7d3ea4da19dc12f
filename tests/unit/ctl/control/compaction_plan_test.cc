// SPDX-License-Identifier: Apache-2.0
//
// Which layers are merged, over every chain of up to six layers, every place from which on others
// need them, and every limit.
#include "ctl/control/compaction_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/chain/fake_image.h"

namespace chainfs::control {
namespace {

class CompactionPlanTest : public testing::Test {
 protected:
  // `ours` of `depth` layers; another chain is built on the next one.
  void Make(size_t depth, size_t ours) {
    layers_.clear();
    reports_.clear();
    for (size_t i = 0; i < depth; ++i) {
      auto layer = std::make_shared<Layer>();
      layer->path = fmt::format("/s/l{}", i);
      layers_.push_back(layer);
      LayerReport report;
      report.path = layer->path;
      if (i > 0) report.built_on_by.push_back(fmt::format("/s/l{}", i - 1));
      if (i == ours) report.built_on_by.emplace_back("/s/clone");
      reports_.push_back(std::move(report));
    }
  }
  size_t Place(const LayerPtr& layer) const {
    return static_cast<size_t>(std::ranges::find(layers_, layer) - layers_.begin());
  }
  Layers layers_;
  std::vector<LayerReport> reports_;
};

TEST_F(CompactionPlanTest, AsFewAsNeededOfTheOldestThatAreOurs) {
  for (size_t depth = 1; depth <= 6; ++depth) {
    for (size_t ours = 1; ours <= depth; ++ours) {
      for (size_t most = 1; most <= 6; ++most) {
        SCOPED_TRACE(fmt::format("depth {} ours {} most {}", depth, ours, most));
        Make(depth, ours);
        const std::optional<Compaction> plan = PlanCompaction(layers_, reports_, most);
        // The base of the chain stays unless it is ours and one layer is all that may be left.
        const size_t mergeable = ours == depth && most > 1 ? depth - 1 : ours;
        if (depth <= most || mergeable < 2) {
          EXPECT_FALSE(plan);
          continue;
        }
        ASSERT_TRUE(plan);
        const size_t base = plan->base == nullptr ? depth : Place(plan->base);
        EXPECT_EQ(base, mergeable);
        EXPECT_LT(Place(plan->top), mergeable);
        const size_t left = depth - (base - Place(plan->top) - 1);
        EXPECT_GE(left, most);
        if (left > most) {
          EXPECT_EQ(plan->top, layers_.front());
        }
      }
    }
  }
}

TEST_F(CompactionPlanTest, WhatNoReportIsAboutIsSomebodyElses) {
  Make(5, 5);
  reports_.erase(reports_.begin() + 2);
  const std::optional<Compaction> plan = PlanCompaction(layers_, reports_, 2);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->top, layers_[0]);
  EXPECT_EQ(plan->base, layers_[2]);
  EXPECT_FALSE(PlanCompaction(layers_, {}, 2));
}

TEST_F(CompactionPlanTest, AnActiveLayerThatIsBuiltOnIsLeftAlone) {
  Make(4, 4);
  reports_[0].built_on_by.emplace_back("/s/clone");
  EXPECT_FALSE(PlanCompaction(layers_, reports_, 2));
}

}  // namespace
}  // namespace chainfs::control
