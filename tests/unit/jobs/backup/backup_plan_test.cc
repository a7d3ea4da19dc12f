// SPDX-License-Identifier: Apache-2.0
//
// From the words of a backup to layers and a place, and what is refused.
#include "jobs/backup/backup_plan.h"

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs::jobs {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

class BackupPlanTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("a.qcow2");
    MakeOverlay("b.qcow2", "a.qcow2");
    MakeOverlay("vm.qcow2", "b.qcow2");
    ASSERT_TRUE(OpenAll());
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  void TearDown() override { disk_.reset(); }

  Result<BackupPlan> Plan(const Items& items, const BackupBegun& begun = {}) {
    verbs::Arguments arguments;
    for (const auto& [key, value] : items) arguments.Set(key, value);
    return PlanBackup(*catalog_, disk_, arguments, begun, false);
  }
  Error Refused(const Items& items) {
    const Result<BackupPlan> plan = Plan(items);
    EXPECT_FALSE(plan);
    return plan ? Error{} : plan.error();
  }
  static std::string Name(const LayerPtr& layer) { return layer == nullptr ? "" : layer->name; }

  DiskPtr disk_;
};

TEST_F(BackupPlanTest, FullTakesAllAndStandsAlone) {
  const auto plan = Plan({{"target", "t.qcow2"}});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->point.size(), 3u);
  EXPECT_EQ(plan->backing, nullptr);
  EXPECT_EQ(plan->selection().layers, CopySelection::kAllLayers);
  EXPECT_EQ(plan->selection().zeros_until, 0u);
  EXPECT_EQ(plan->length(), kSize);
  EXPECT_EQ(plan->target->place.location.path, At("t.qcow2"));
  EXPECT_FALSE(plan->hold);
  EXPECT_EQ(Plan({{"target", "t.raw"}})->target->format, ImageFormat::kRaw);
  EXPECT_EQ(Plan({{"target", "t"}})->target->format, ImageFormat::kQcow2);
  EXPECT_EQ(Plan({{"target", "t"}, {"format", "raw"}})->target->format, ImageFormat::kRaw);
}

TEST_F(BackupPlanTest, APartIsBuiltOnTheLayerBelowIt) {
  const auto top = Plan({{"target", "t.qcow2"}, {"sync", "top"}});
  ASSERT_TRUE(top) << top.error().message;
  EXPECT_EQ(top->selected, 1u);
  EXPECT_EQ(Name(top->backing), "b.qcow2");
  EXPECT_EQ(top->target->place.backing->name, "b.qcow2");
  EXPECT_EQ(top->selection().zeros_until, kSize);
  const auto since = Plan({{"target", "t.qcow2"}, {"since", "a.qcow2"}});
  ASSERT_TRUE(since) << since.error().message;
  EXPECT_EQ(since->sync, BackupSync::kSince);
  EXPECT_EQ(since->selected, 2u);
  EXPECT_EQ(Name(since->backing), "a.qcow2");
}

TEST_F(BackupPlanTest, IsPlannedTheSameAgain) {
  for (const Items& items :
       {Items{{"target", "t.qcow2"},
              {"since", "a.qcow2"},
              {"cluster_size", "16k"},
              {"extended_l2", "on"},
              {"compress", "zstd"}},
        Items{{"target", "t.raw"}, {"then", "hold"}}, Items{{"then", "hold"}, {"overlay", "o"}}}) {
    const auto plan = Plan(items);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto again = PlanBackup(*catalog_, disk_, CommandOf(*plan), {}, false);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(CommandOf(*again).Format(), CommandOf(*plan).Format());
    EXPECT_EQ(ClaimsOf(*again), ClaimsOf(*plan));
    EXPECT_EQ(again->selected, plan->selected);
  }
}

TEST_F(BackupPlanTest, TheTargetMayBeThereWhenItIsTakenUp) {
  WriteTextFile(At("t.qcow2"), "x");
  EXPECT_EQ(Refused({{"target", "t.qcow2"}}).kind, ErrorKind::kExists);
  EXPECT_TRUE(Plan({{"target", "t.qcow2"}}, {.taken_up = true}));
  const auto plan = Plan({{"target", "t.qcow2"}},
                         {.taken_up = true, .frozen = disk_->chain()->below->layers()[0]});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->point.size(), 2u);
}

TEST_F(BackupPlanTest, KeepsOthersFromWhatItReliesOn) {
  const LayerClaims full = ClaimsOf(*Plan({{"target", "t.qcow2"}}));
  EXPECT_EQ(full.writes.size(), 1u);
  EXPECT_EQ(Name(full.writes[0]), "vm.qcow2");
  EXPECT_EQ(full.reads.size(), 2u);
  EXPECT_TRUE(full.fills.empty());
  const LayerClaims top = ClaimsOf(*Plan({{"target", "t.qcow2"}, {"sync", "top"}}));
  ASSERT_EQ(top.fills.size(), 1u);
  EXPECT_EQ(Name(top.fills[0]), "b.qcow2");
  EXPECT_EQ(top.reads.size(), 1u);
}

TEST_F(BackupPlanTest, SaysWhatMakesNoSense) {
  using enum ErrorKind;
  const Items cases[] = {
      {},
      {{"then", "drop"}},
      {{"then", "hold"}, {"sync", "full"}},
      {{"target", "t.qcow2"}, {"sync", "since"}},
      {{"target", "t.qcow2"}, {"sync", "top"}, {"since", "a.qcow2"}},
      {{"target", "t.qcow2"}, {"since", "vm.qcow2"}},
      {{"target", "t.raw"}, {"sync", "top"}},
      {{"target", "t.raw"}, {"cluster_size", "4k"}},
      {{"target", "t.qcow2"}, {"cluster_size", "5k"}},
      {{"target", "t.raw"}, {"compress", "zstd"}},
      {{"target", "t.qcow2"}, {"format", "raw"}},
      {{"target", "t.qcow2"}, {"format", "qed"}},
      {{"target", "t.vdi"}},
      {{"target", "t"}, {"format", "vpc"}},
  };
  for (const Items& items : cases) {
    const Error error = Refused(items);
    EXPECT_EQ(error.kind, kInvalidArgument) << error.message;
    EXPECT_FALSE(error.message.empty());
  }
  EXPECT_EQ(Refused({{"target", "t.qcow2"}, {"since", "nobody"}}).kind, kNotFound);
  EXPECT_EQ(Refused({{"target", "a.qcow2"}}).kind, kExists);
  EXPECT_EQ(Refused({{"target", "/tmp/t.qcow2"}}).kind, kAccess);
}

}  // namespace
}  // namespace chainfs::jobs
