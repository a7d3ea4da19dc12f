// SPDX-License-Identifier: Apache-2.0
//
// Commits that end midway, and what others make of it that end well later: whatever is still a
// mixture says so and is nothing that a disk can go back to; the disk shows what it showed.
#include <filesystem>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {
class UnfinishedCommitTest : public CommitFixture {
 protected:
  void SetUp() override {
    MakeFive();
    Remember("e.qcow2");
    OpenAll();
  }
  // Ends it when base has got a part.
  void CancelMidway(const std::string& keys) {
    const std::string id = AcceptedCommit("e", keys + ",speed=64k");
    PauseAfterSome("e", id);
    ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
    WaitEnd("e", id);
  }
  // Neither its own disk nor a revert gives out for whole what is none.
  void ExpectAMixture(const std::string& layer, const std::string& whole) {
    SCOPED_TRACE(layer);
    const std::string why = Disk(layer)->ReadOnlyReason();
    EXPECT_TRUE(Disk(layer)->read_only());
    EXPECT_NE(why.find("only " + At(whole)), std::string::npos) << why;
    const Result<LayerPtr> to = catalog_->FindLayer(*Disk("e"), layer + ".qcow2");
    ASSERT_TRUE(to) << to.error().message;
    const auto reverted = catalog_->Revert(Disk("e"), **to, false, true);
    ASSERT_FALSE(reverted);
    EXPECT_NE(reverted.error().message.find("mixture"), std::string::npos)
        << reverted.error().message;
  }
  void ExpectWhole(const std::string& layer) {
    SCOPED_TRACE(layer);
    for (const std::string& record : Records("merged-")) {
      EXPECT_FALSE(record.starts_with("merged-" + layer + ".qcow2")) << record;
    }
  }
  void Reopen() {
    CloseAll();
    ExpectAsRemembered("e.qcow2");
    OpenAll();
    EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
  }
};

TEST_F(UnfinishedCommitTest, AGoodOneFromBelowItsTopDoesNotMendBase) {
  CancelMidway("base=a.qcow2");
  Commit("e", "top=c.qcow2,base=a.qcow2");
  for (int i = 0; i < 2; ++i) {
    ExpectAMixture("a", "e.qcow2");
    ExpectAMixture("d", "e.qcow2");
    Reopen();
  }
  Commit("e", "top=d.qcow2,base=a.qcow2");
  ExpectAMixture("a", "e.qcow2");
  // One from as high up does.
  Commit("e", "base=a.qcow2");
  ExpectWhole("a");
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("e"), Words{"a.qcow2"});
  EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
  CloseAll();
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("a.qcow2"), At(".e.qcow2")});
}

TEST_F(UnfinishedCommitTest, NorDoesAGoodOneBetweenTwoLayersThatAreNotActive) {
  CancelMidway("top=c.qcow2,base=a.qcow2");
  Commit("e", "top=b.qcow2,base=a.qcow2");
  ExpectAMixture("a", "c.qcow2");
  Reopen();
  ExpectAMixture("a", "c.qcow2");
  Commit("e", "top=c.qcow2,base=a.qcow2");
  ExpectWhole("a");
  Reopen();
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "d.qcow2", "a.qcow2"}));
}

TEST_F(UnfinishedCommitTest, WhatIsMergedTakesTheMixtureDownWithIt) {
  CancelMidway("top=d.qcow2,base=b.qcow2");
  Commit("e", "top=b.qcow2,base=a.qcow2");
  ExpectAMixture("a", "d.qcow2");
  ExpectAMixture("c", "d.qcow2");
  Reopen();
  ExpectAMixture("a", "d.qcow2");
  Commit("e", "top=d.qcow2,base=c.qcow2");
  // That has all of d now, and a is beneath it.
  ExpectWhole("c");
  ExpectAMixture("a", "c.qcow2");
  Reopen();
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "c.qcow2", "a.qcow2"}));
}

TEST_F(UnfinishedCommitTest, AGoodOneFromAboveItsTopMendsBase) {
  CancelMidway("top=b.qcow2,base=a.qcow2");
  Commit("e", "top=c.qcow2,base=a.qcow2");
  ExpectWhole("a");
  Reopen();
}

TEST_F(UnfinishedCommitTest, AnotherOneThatIsCancelledKeepsTheHigherTop) {
  CancelMidway("top=d.qcow2,base=a.qcow2");
  CancelMidway("top=b.qcow2,base=a.qcow2");
  ExpectAMixture("a", "d.qcow2");
  CancelMidway("base=c.qcow2");
  ExpectAMixture("a", "d.qcow2");
  ExpectAMixture("c", "e.qcow2");
  // It copies what the last one has spoilt.
  Commit("e", "top=c.qcow2,base=a.qcow2");
  ExpectAMixture("a", "e.qcow2");
  Reopen();
  ExpectAMixture("a", "e.qcow2");
}

TEST_F(UnfinishedCommitTest, AStreamThatLeavesLayersOutKeepsTheMark) {
  CancelMidway("top=d.qcow2,base=a.qcow2");
  Stream({.disk = "e", .top = "c.qcow2", .base = "a.qcow2"});
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "d.qcow2", "c.qcow2", "a.qcow2"}));
  ExpectAMixture("a", "d.qcow2");
  std::filesystem::remove(At("b.qcow2"));
  ASSERT_TRUE(catalog_->Rescan());
  Commit("e", "top=c.qcow2,base=a.qcow2");
  ExpectAMixture("a", "d.qcow2");
  Reopen();
  ExpectAMixture("a", "d.qcow2");
}

// The mark of what stays names one that goes.
TEST_F(UnfinishedCommitTest, TheMarkOutlivesTheLayerThatItNames) {
  for (const bool active : {false, true}) {
    SCOPED_TRACE(active);
    CloseAll();
    for (const std::string name : {"a", "b", "c", "d", "e"}) {
      std::filesystem::remove(At(name + ".qcow2"));
    }
    std::filesystem::remove_all(At(".chainfs"));
    SetUp();
    CancelMidway("top=c.qcow2,base=a.qcow2");
    const JobInfo info = Commit("e", active ? "base=b.qcow2,delete=yes"
                                            : "top=d.qcow2,base=b.qcow2,delete=yes,reclaim=yes");
    EXPECT_EQ(info.removed.size(), active ? 3u : 2u);
    ExpectWhole("b");
    CloseAll();
    OpenAll();
    EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
    const Result<LayerPtr> to = catalog_->FindLayer(*Disk("e"), "a.qcow2");
    ASSERT_TRUE(to);
    const auto reverted = catalog_->Revert(Disk("e"), **to, false, true);
    ASSERT_FALSE(reverted);
    EXPECT_NE(reverted.error().message.find("only " + At("b.qcow2")), std::string::npos)
        << reverted.error().message;
    CloseAll();
    Run({"qemu-img", "compare", "-F", "raw", At(active ? "b.qcow2" : "e.qcow2"), At(".e.qcow2")});
    OpenAll();
  }
}

TEST_F(UnfinishedCommitTest, ItIsNoDiskToWriteWhenItIsNamedAsASource) {
  CancelMidway("base=a.qcow2");
  CloseAll();
  for (const char* name : {"a.qcow2", "c.qcow2"}) {
    SCOPED_TRACE(name);
    auto catalog = Catalog::Open({{.path = At(name)}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    const std::string disk(1, *name);
    ASSERT_NE((*catalog)->Find(disk), nullptr);
    EXPECT_TRUE((*catalog)->Find(disk)->read_only());
    const std::string why = (*catalog)->Find(disk)->ReadOnlyReason();
    EXPECT_NE(why.find("only " + At("e.qcow2")), std::string::npos) << why;
    EXPECT_TRUE((*catalog)->Close());
  }
  auto catalog = Catalog::Open({{.path = At("e.qcow2")}}, {});
  ASSERT_TRUE(catalog) << catalog.error().message;
  EXPECT_FALSE((*catalog)->Find("e")->read_only()) << (*catalog)->Find("e")->ReadOnlyReason();
}

TEST_F(UnfinishedCommitTest, OneThatWaitsForItsDiskSaysUnderWhichNameItIsThere) {
  const std::string id = AcceptedCommit("e", "top=d.qcow2,base=b.qcow2,speed=64k");
  PauseAfterSome("e", id);
  CloseAll();
  auto catalog = Catalog::Open({{.path = At("e.qcow2"), .name = "vm"}}, {});
  ASSERT_TRUE(catalog) << catalog.error().message;
  {
    EventLog events;
    JobManager jobs(**catalog, events, JobTypes(), {.threads = 2});
    jobs.ResumeRecorded();
    const std::vector<JobInfo> infos = jobs.Jobs("");
    ASSERT_EQ(infos.size(), 1u);
    EXPECT_EQ(infos[0].status, JobStatus::kWaiting);
    const std::string why = infos[0].error.value_or("");
    EXPECT_NE(why.find("the chain of vm: mount that as e=" + At("e.qcow2")), std::string::npos)
        << why;
    jobs.Shutdown();
  }
  EXPECT_TRUE((*catalog)->Close());
}

TEST_F(UnfinishedCommitTest, WhatAStreamHasLeftOutSaysHowToGetRidOfIt) {
  Stream({.disk = "e", .top = "d.qcow2", .base = "b.qcow2"});
  const Error refused = RefusedCommit("e", "top=b.qcow2,base=a.qcow2");
  EXPECT_EQ(refused.kind, ErrorKind::kBusy);
  EXPECT_NE(refused.message.find("c is built on it (merged into d.qcow2 and left out"),
            std::string::npos)
      << refused.message;
  EXPECT_NE(refused.message.find("delete " + At("c.qcow2")), std::string::npos) << refused.message;
  EXPECT_NE(refused.message.find("chainctl layers"), std::string::npos);
  EXPECT_EQ(refused.message.find('\n'), std::string::npos);
  std::filesystem::remove(At("c.qcow2"));
  ASSERT_TRUE(catalog_->Rescan());
  Commit("e", "top=b.qcow2,base=a.qcow2");
  Reopen();
}

}  // namespace
}  // namespace chainfs::jobs
