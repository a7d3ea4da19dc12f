// SPDX-License-Identifier: Apache-2.0
//
// A disk that grows when its stream has copied everything and is about to change the backing file:
// what it gains reads as zeros, whatever a longer base has there.
#include "blocklayer/base/sync_point.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

using StreamRaceTest = StreamFixture;

TEST_F(StreamRaceTest, ADiskThatGrowsAtTheEndDoesNotShowTheBase) {
  for (const std::string version : {"0.10", "1.1"}) {
    const std::string options = "compat=" + version;
    Create("a.qcow2", 8 * kMiB, "", options);
    Io("a.qcow2", {"write -P 1 0 8M"});
    // Neither ends with a cluster.
    Create("b.qcow2", 2 * kMiB + 4096, "a.qcow2", options);
    Io("b.qcow2", {"write -P 2 0 1M"});
    Create("c.qcow2", 2 * kMiB + 8192, "b.qcow2", options);
    OpenAll();
    {
      const SyncPointHook hook("JobRun.SettleAndPivot.decided",
                               [&] { EXPECT_TRUE(Disk("c")->Grow(6 * kMiB)); });
      Stream({.disk = "c", .base = "a.qcow2"});
    }
    EXPECT_EQ(ChainOf("c"), (Words{"c.qcow2", "a.qcow2"}));
    CloseAll();
    ExpectSound("c.qcow2");
    Io("c.qcow2", {"read -P 2 0 1M", "read -P 1 1M 1M", "read -P 1 2M 4k", "read -P 0 2052k 4k",
                   "read -P 0 2056k 4088k"});
  }
}

// The layer that is filled is below the one that grows.
TEST_F(StreamRaceTest, ASnapshotThatGrowsAtTheEndDoesNotShowTheBase) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 8M"});
  Create("b.qcow2", 2 * kMiB, "a.qcow2");
  Io("b.qcow2", {"write -P 2 0 1M"});
  Create("c.qcow2", 2 * kMiB, "b.qcow2");
  Create("d.qcow2", 2 * kMiB, "c.qcow2");
  OpenAll();
  {
    const SyncPointHook hook("JobRun.SettleAndPivot.decided",
                             [&] { EXPECT_TRUE(Disk("d")->Grow(6 * kMiB)); });
    Stream({.disk = "d", .top = "c.qcow2", .base = "a.qcow2"});
  }
  EXPECT_EQ(ChainOf("d"), (Words{"d.qcow2", "c.qcow2", "a.qcow2"}));
  Stream({.disk = "d", .base = "a.qcow2"});
  CloseAll();
  ExpectSound("d.qcow2");
  Io("d.qcow2", {"read -P 2 0 1M", "read -P 1 1M 1M", "read -P 0 2M 4M"});
}

}  // namespace
}  // namespace chainfs::jobs
