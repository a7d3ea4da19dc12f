// SPDX-License-Identifier: Apache-2.0
//
// Guests that write to the active layer just while a commit of it gives space back.
#include "blocklayer/base/sync_point.h"
#include "tests/unit/jobs/commit/active_reclaimer_fixture.h"

namespace chainfs::jobs {
namespace {

using ActiveReclaimRaceTest = ActiveReclaimerFixture;

TEST_F(ActiveReclaimRaceTest, WhatIsWrittenMeanwhileStays) {
  const auto work = CopiedOfFive("a.qcow2");
  {
    const SyncPointHook hook("ActiveReclaimer.ReclaimNow.forgotten", [&] {
      Write(4 * kMiB, 4096, 0xbb);
      Write(5 * kMiB - 512, 1024, 0xcc);
      ASSERT_EQ(Contents("e"), expected_);
    });
    ASSERT_TRUE(work->Settle());
  }
  EXPECT_EQ(Held("e.qcow2"), 3 * 65536u);
  ExpectShown();
  ASSERT_TRUE(work->Pivot());
  work->Release();
  ExpectShown();
}

}  // namespace
}  // namespace chainfs::jobs
