// SPDX-License-Identifier: Apache-2.0
//
// Chains that are kept short: by the mount, by their own limit, across restarts, and not at the
// expense of others.
#include "tests/unit/ctl/control/control_fixture.h"

#include <functional>

namespace chainfs::control {
namespace {

class CompactorTest : public ControlTest {
 protected:
  // base <- m1 <- m2 <- m3 <- vm
  void SetUp() override {
    Make("base.qcow2");
    std::string below = "base.qcow2";
    for (const char* name : {"m1.qcow2", "m2.qcow2", "m3.qcow2", "vm.qcow2"}) {
      Make(name, below);
      below = name;
    }
  }
  void OpenWith(uint32_t max_layers) {
    config_.max_layers = max_layers;
    Open();
    plane_->BeginJobs();
  }
  void Await(const std::function<bool()>& condition, const char* what) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), guard) << what;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void AwaitLayers(const Words& wanted) {
    Await([&] { return Layers("vm") == wanted; }, "the layers that are to be left");
  }
  // A while in which a compaction that must not be would have begun.
  void ExpectNoJobs() {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(plane_->jobs.Jobs("").empty());
  }
};

TEST_F(CompactorTest, MergesTheOldestAtLowPriorityAndDeletesNothing) {
  OpenWith(3);
  AwaitLayers({"vm.qcow2", "m3.qcow2", "base.qcow2"});
  WaitConcluded("vm", "stream-1");
  const auto job = plane_->jobs.Find("vm", "stream-1");
  EXPECT_EQ(job->priority, "low");
  EXPECT_FALSE(job->error.has_value());
  EXPECT_TRUE(host_->OpenRoot()->Open("m1.qcow2", OpenMode::kReadOnly));
  EXPECT_EQ(plane_->jobs.Jobs("").size(), 1u);
  ASSERT_TRUE(Order("vm", "snapshot"));
  Await([&] { return Layers("vm").size() == 3; }, "the limit after a snapshot");
}

TEST_F(CompactorTest, OneLayerMeansEverything) {
  OpenWith(1);
  AwaitLayers({"vm.qcow2"});
}

TEST_F(CompactorTest, WhatIsShortEnoughOrHasNoLimitStays) {
  OpenWith(5);
  ExpectNoJobs();
  OpenWith(0);
  ExpectNoJobs();
}

TEST_F(CompactorTest, WhatAnotherChainNeedsStays) {
  Make("clone.qcow2", "m2.qcow2");
  OpenWith(2);
  AwaitLayers({"vm.qcow2", "m2.qcow2", "m1.qcow2", "base.qcow2"});
  // clone <- m2 <- m1 <- base has nothing of its own but the active layer.
  EXPECT_EQ(Layers("clone").size(), 4u);
  WaitConcluded("vm", "stream-1");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(plane_->jobs.Jobs("").size(), 1u);
}

TEST_F(CompactorTest, ADiskHasALimitOfItsOwnThatOutlivesTheDaemon) {
  OpenWith(0);
  EXPECT_EQ(Refused("vm", "max-layers", "layers=x"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "max-layers", "layers=99999999999"), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(Order("vm", "max-layers", "layers=4"));
  AwaitLayers({"vm.qcow2", "m3.qcow2", "m2.qcow2", "base.qcow2"});
  const auto info = [&] {
    return json::parse(*plane_->attributes.Value(plane_->disks.Find("vm").get(), "info"));
  };
  EXPECT_EQ(info()["max-layers"], 4);
  OpenWith(2);
  EXPECT_EQ(info()["max-layers"], 4);
  ExpectNoJobs();
  ASSERT_TRUE(Order("vm", "max-layers"));  // that of the mount again
  AwaitLayers({"vm.qcow2", "base.qcow2"});
  EXPECT_EQ(info()["max-layers"], 2);
  ASSERT_TRUE(Order("vm", "max-layers", "layers=0"));
  EXPECT_FALSE(info().contains("max-layers"));
}

TEST_F(CompactorTest, StandsBackForOthersWhoWantTheDisk) {
  OpenWith(0);
  {
    const auto held = plane_->jobs.ReserveDisk(*Find("vm"), "revert", "", true);
    ASSERT_TRUE(held);
    ASSERT_TRUE(Order("vm", "max-layers", "layers=2"));
    ExpectNoJobs();
  }
  plane_->compactor.LookSoon();
  AwaitLayers({"vm.qcow2", "base.qcow2"});
}

TEST_F(CompactorTest, ARecordThatMakesNoSenseDoesNotCount) {
  OpenWith(0);
  ASSERT_TRUE(Order("vm", "max-layers", "layers=5"));
  ASSERT_TRUE(catalog_->records().Write(*Find("vm"), "layers-vm", "{\"version\": 1}"));
  OpenWith(0);
  EXPECT_EQ(plane_->limits.Of("vm"), 0u);
  EXPECT_FALSE(plane_->limits.any());
}

}  // namespace
}  // namespace chainfs::control
