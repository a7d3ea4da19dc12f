// SPDX-License-Identifier: Apache-2.0
//
// Space that a commit of the active layer gives back while guests write to that layer.
#include "jobs/commit/active_reclaimer.h"

#include "blocklayer/base/sync_point.h"
#include "jobs/commit/commit_type.h"
#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

using Bytes = std::vector<std::byte>;

class ActiveReclaimerTest : public CommitFixture {
 protected:
  // The work of a commit of e's active layer, as far as it copies: it is driven by hand.
  std::unique_ptr<ChunkWork> Begun(const std::string& base) {
    verbs::Arguments arguments;
    arguments.Set("base", base).Set("reclaim", "yes");
    auto plan =
        CommitType().plan(*catalog_, {.type = "commit", .disk = Disk("e"), .arguments = arguments});
    EXPECT_TRUE(plan) << plan.error().message;
    std::unique_ptr<ChunkWork> work = plan->work("c1");
    EXPECT_TRUE(work->Prepare());
    const Status begun = work->Begin();
    EXPECT_TRUE(begun) << begun.error().message;
    return work;
  }
  static void CopyAll(ChunkWork& work) {
    while (const std::optional<ChunkRange> chunk = work.source().Take(work.unit() * 8)) {
      const ChunkResult copied = work.Process(chunk->offset, chunk->length);
      ASSERT_TRUE(copied) << copied.error().error.message;
      work.source().Finished(*chunk);
    }
  }
  // Bytes that a layer holds of its own.
  uint64_t Held(const std::string& layer) {
    Image& image = *catalog_->FindLayer(*Disk("e"), layer).value()->image;
    uint64_t held = 0;
    for (uint64_t at = 0; at < image.virtual_size();) {
      const auto extent =
          image.Map(GuestOffset(at), image.virtual_size() - at, MapDetail::kFast).value();
      if (extent.kind != ExtentKind::kUnallocated) held += extent.length;
      at += extent.length;
    }
    return held;
  }
  void Write(uint64_t offset, uint64_t length, int value) {
    const Bytes data(length, static_cast<std::byte>(value));
    ASSERT_TRUE(Disk("e")->Write(GuestOffset(offset), data));
    std::ranges::copy(data, expected_.begin() + static_cast<ptrdiff_t>(offset));
  }
  void ExpectShown() { ASSERT_EQ(Contents("e"), expected_); }

  Bytes expected_;
};

TEST_F(ActiveReclaimerTest, WhatBaseHasIsHeldOnce) {
  MakeFive();
  OpenAll();
  expected_ = Contents("e");
  const auto work = Begun("b.qcow2");
  CopyAll(*work);
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

TEST_F(ActiveReclaimerTest, WhatIsWrittenMeanwhileStays) {
  MakeFive();
  OpenAll();
  expected_ = Contents("e");
  const auto work = Begun("a.qcow2");
  CopyAll(*work);
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
