// SPDX-License-Identifier: Apache-2.0
//
// Space that a commit of the active layer gives back while guests write to that layer.
#include "jobs/commit/active_reclaimer.h"

#include "tests/unit/jobs/commit/active_reclaimer_fixture.h"

namespace chainfs::jobs {
namespace {

using ActiveReclaimerTest = ActiveReclaimerFixture;

TEST_F(ActiveReclaimerTest, WhatBaseHasIsHeldOnce) {
  const auto work = CopiedOfFive("b.qcow2");
  ASSERT_TRUE(work->Settle());
  for (const char* const layer : {"c.qcow2", "d.qcow2", "e.qcow2"}) EXPECT_EQ(Held(layer), 0u);
  ExpectShown();
  // What guests write from now on is here again, whole clusters of it, over what base has.
  Write(3 * kMiB + 100, 200, 0xaa);
  EXPECT_EQ(Held("e.qcow2"), 65536u);
  ExpectShown();
  ASSERT_TRUE(work->Settle());
  EXPECT_EQ(Held("e.qcow2"), 65536u) << "base does not have it";
  const Status moved = work->Pivot();
  ASSERT_TRUE(moved) << moved.error().message;
  work->Release();
  EXPECT_EQ(ChainOf("e"), (Words{"b.qcow2", "a.qcow2"}));
  ExpectShown();
}

TEST_F(ActiveReclaimerTest, ACommitThatEndsMidwayLeavesTheDiskAsItWas) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  {
    const auto work = Begun("c.qcow2");
    CopyAll(*work);
    ASSERT_TRUE(work->Settle());
    work->Release();
  }
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  OpenAll();
  EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
  // The next one finds nothing to copy where base has it.
  Commit("e", "base=c.qcow2,reclaim=yes");
  CloseAll();
  Run({"qemu-img", "compare", "-F", "raw", At("c.qcow2"), At(".e.qcow2")});
}

// Nothing shows from below past its end.
TEST_F(ActiveReclaimerTest, WhatLiesAboveTheEndOfAShorterLayerStays) {
  Create("a.qcow2", 8 * kMiB);
  Create("b.qcow2", 3 * kMiB + 512, "a.qcow2");
  Create("e.qcow2", 8 * kMiB, "b.qcow2");
  Io("a.qcow2", {"write -P 1 0 8M"});
  Io("b.qcow2", {"write -P 2 1M 1M"});
  Io("e.qcow2", {"write -P 3 2M 6M"});
  OpenAll();
  expected_ = Contents("e");
  const auto work = Begun("a.qcow2");
  CopyAll(*work);
  ASSERT_TRUE(work->Settle());
  EXPECT_EQ(Held("b.qcow2"), 0u);
  EXPECT_EQ(Held("e.qcow2"), 5 * kMiB);
  ExpectShown();
  ASSERT_TRUE(work->Pivot());
  work->Release();
  ExpectShown();
}

}  // namespace
}  // namespace chainfs::jobs
