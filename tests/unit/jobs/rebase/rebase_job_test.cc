// SPDX-License-Identifier: Apache-2.0
//
// Rebase: a layer of a chain in use stands on another image that shows the same, and on no other.
#include "jobs/rebase/rebase_type.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class RebaseJobTest : public StreamFixture {
 protected:
  // a <- b <- vm, and `copy`, what a and b show together.
  void SetUp() override {
    Create("a.qcow2", 8 * kMiB);
    Io("a.qcow2", {"write -P 1 0 3M"});
    Create("b.qcow2", 8 * kMiB, "a.qcow2");
    Io("b.qcow2", {"write -P 2 1M 1M", "write -P 3 6M 64k"});
    Create("vm.qcow2", 8 * kMiB, "b.qcow2");
    Io("vm.qcow2", {"write -P 4 2M 1M"});
    Run({"qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", At("b.qcow2"), At("copy.qcow2")});
    Remember("vm.qcow2");
  }
  Result<std::string> Start(verbs::Arguments arguments, const std::string& disk = "vm") {
    return jobs_->Start({.type = "rebase",
                         .disk = Disk(disk),
                         .arguments = std::move(arguments),
                         .privileged = true});
  }
  static verbs::Arguments Onto(const std::string& base) {
    verbs::Arguments arguments;
    arguments.Set("base", base);
    return arguments;
  }
  JobInfo Rebase(verbs::Arguments arguments) {
    const Result<std::string> id = Start(std::move(arguments));
    EXPECT_TRUE(id) << id.error().message;
    return id ? WaitEnd("vm", *id) : JobInfo{};
  }
  Error Refusal(verbs::Arguments arguments, const std::string& disk = "vm") {
    const Result<std::string> id = Start(std::move(arguments), disk);
    EXPECT_FALSE(id) << *id << " was accepted";
    return id ? Error{} : id.error();
  }
  bool IsWritable(const std::string& disk) {
    EXPECT_TRUE(catalog_->Rescan());
    return !Disk(disk)->read_only();
  }
};

TEST_F(RebaseJobTest, OntoAnImageThatShowsTheSame) {
  OpenAll();
  ASSERT_TRUE(IsWritable("copy"));
  const JobInfo info = Rebase(Onto("copy.qcow2"));
  EXPECT_FALSE(info.error) << *info.error;
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "copy.qcow2"}));
  EXPECT_FALSE(IsWritable("copy"));
  EXPECT_TRUE(IsWritable("b")) << "nothing is built on it any more";
  const std::vector<std::byte> data(512, std::byte{9});
  EXPECT_TRUE(Disk("vm")->Write(GuestOffset(2 * kMiB), data));
  EXPECT_TRUE(Disk("vm")->Write(GuestOffset(2 * kMiB), std::vector(512, std::byte{4})));
  EXPECT_TRUE(Records().empty());
  CloseAll();
  EXPECT_EQ(ChainOnDisk("vm.qcow2"), (Words{"vm.qcow2", "copy.qcow2"}));
  ExpectAsRemembered("vm.qcow2");
}

// What qemu-img rebase makes of the same images shows the same.
TEST_F(RebaseJobTest, AsQemuImgDoesIt) {
  Run({"cp", At("vm.qcow2"), At(".theirs.qcow2")});
  Run({"qemu-img", "rebase", "-f", "qcow2", "-F", "qcow2", "-b", "copy.qcow2",
       At(".theirs.qcow2")});
  OpenAll();
  EXPECT_FALSE(Rebase(Onto("copy.qcow2")).error);
  CloseAll();
  Run({"qemu-img", "compare", "-s", "-f", "qcow2", "-F", "qcow2", At("vm.qcow2"),
       At(".theirs.qcow2")});
}

TEST_F(RebaseJobTest, ADifferenceIsFoundAndNothingChanges) {
  Io("copy.qcow2", {"write -P 9 6M 512"});
  OpenAll();
  const JobInfo info = Rebase(Onto("copy.qcow2"));
  ASSERT_TRUE(info.error);
  EXPECT_NE(info.error->find("differs from what it stands on now, at 6291456"), std::string::npos)
      << *info.error;
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "b.qcow2", "a.qcow2"}));
  WaitFor([&] { return IsWritable("copy"); }, "the base is let go of");
  CloseAll();
  EXPECT_EQ(ChainOnDisk("vm.qcow2"), (Words{"vm.qcow2", "b.qcow2", "a.qcow2"}));
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(RebaseJobTest, WhatTheLayerHidesMayDiffer) {
  Io("copy.qcow2", {"write -P 9 2M 1M"});
  OpenAll();
  EXPECT_FALSE(Rebase(Onto("copy.qcow2")).error);
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(RebaseJobTest, ALayerBelowTheActiveOne) {
  Run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", At("a.qcow2"), At("flat.raw")});
  OpenAll();
  EXPECT_FALSE(Rebase(Onto("flat.raw").Set("top", "b.qcow2")).error);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "b.qcow2", "flat.raw"}));
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(RebaseJobTest, WhatIsBuiltOnTheLayerIsNoBase) {
  Create("over.qcow2", 8 * kMiB, "vm.qcow2");
  OpenAll();
  EXPECT_EQ(Refusal(Onto("over.qcow2").Set("top", "b.qcow2"), "over").kind, ErrorKind::kLoop);
  EXPECT_EQ(Refusal(Onto("vm.qcow2").Set("top", "b.qcow2"), "over").kind, ErrorKind::kLoop);
  EXPECT_EQ(Refusal(Onto("nothing.qcow2"), "over").kind, ErrorKind::kNotFound);
  EXPECT_EQ(Refusal(Onto("a.qcow2").Set("format", "qed"), "over").kind,
            ErrorKind::kInvalidArgument);
}

TEST_F(RebaseJobTest, ABaseThatIsBeingWrittenIsRefused) {
  OpenAll();
  {
    const auto ticket = Disk("copy")->AdmitWriter();
    ASSERT_TRUE(ticket);
    const Error refusal = Refusal(Onto("copy.qcow2"));
    EXPECT_EQ(refusal.kind, ErrorKind::kBusy);
    EXPECT_NE(refusal.message.find("copy is open for writing"), std::string::npos)
        << refusal.message;
  }
  EXPECT_TRUE(IsWritable("copy"));
  // And nobody writes it while the job looks at it.
  const Result<std::string> id = Start(Onto("copy.qcow2").Set("speed", "1"));
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_FALSE(Disk("copy")->AdmitWriter());
  ASSERT_TRUE(jobs_->Cancel(Disk("vm"), *id));
  WaitEnd("vm", *id);
  WaitFor([&] { return IsWritable("copy"); }, "the base is let go of");
}

TEST_F(RebaseJobTest, GrowthMeanwhileIsComparedToo) {
  // What lies beyond the old base would show.
  Run({"qemu-img", "resize", "-q", "-f", "qcow2", At("copy.qcow2"), "10M"});
  Io("copy.qcow2", {"write -P 9 9M 64k"});
  OpenAll();
  const Result<std::string> id = Start(Onto("copy.qcow2").Set("speed", "1"));
  ASSERT_TRUE(id) << id.error().message;
  ASSERT_TRUE(Disk("vm")->Grow(12 * kMiB));
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), *id, 0));
  const JobInfo info = WaitEnd("vm", *id);
  ASSERT_TRUE(info.error);
  EXPECT_NE(info.error->find("at 9437184"), std::string::npos) << *info.error;
  EXPECT_EQ(ChainOf("vm").size(), 3u);
}

TEST_F(RebaseJobTest, UnsafelyTheDiskShowsWhatTheNewBaseHolds) {
  Io("copy.qcow2", {"write -P 9 6M 512"});
  OpenAll();
  {
    const auto ticket = Disk("vm")->AdmitWriter();
    const JobInfo info = Rebase(Onto("copy.qcow2").Set("unsafe", "yes"));
    ASSERT_TRUE(info.error);
    EXPECT_NE(info.error->find("open for writing"), std::string::npos) << *info.error;
  }
  const JobInfo info = Rebase(Onto("copy.qcow2").Set("unsafe", "yes"));
  EXPECT_FALSE(info.error) << *info.error;
  std::vector<std::byte> data(512);
  ASSERT_TRUE(Disk("vm")->Read(GuestOffset(6 * kMiB), data));
  EXPECT_EQ(data, std::vector(512, std::byte{9}));
  ASSERT_TRUE(Disk("vm")->Read(GuestOffset(2 * kMiB), data));
  EXPECT_EQ(data, std::vector(512, std::byte{4}));
  EXPECT_TRUE(IsWritable("vm"));
  CloseAll();
  EXPECT_EQ(ChainOnDisk("vm.qcow2"), (Words{"vm.qcow2", "copy.qcow2"}));
  ExpectSound("vm.qcow2");
}

TEST_F(RebaseJobTest, UnsafelyNothingChangesWhatOthersAreBuiltOn) {
  Io("copy.qcow2", {"write -P 9 6M 512"});
  OpenAll();
  const std::vector<std::string> before = ChainOf("vm");
  verbs::Arguments arguments = Onto("copy.qcow2").Set("unsafe", "yes");
  const Result<std::string> id =
      jobs_->Start({.type = "rebase", .disk = Disk("b"), .arguments = arguments});
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().kind, ErrorKind::kBusy);
  EXPECT_NE(id.error().message.find("vm"), std::string::npos) << id.error().message;
  EXPECT_EQ(ChainOf("vm"), before);
}

TEST_F(RebaseJobTest, OnWhatItStandsAlreadyIsNoChange) {
  OpenAll();
  EXPECT_FALSE(Rebase(Onto("b.qcow2")).error);
  EXPECT_EQ(ChainOf("vm").size(), 3u);
}

TEST_F(RebaseJobTest, GoesOnAfterARestart) {
  OpenAll();
  ASSERT_TRUE(Start(Onto("copy.qcow2").Set("speed", "1").Set("id", "r")));
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("vm", "r").has_value(); }, "it is taken up");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), "r", 0));
  EXPECT_FALSE(WaitEnd("vm", "r").error);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "copy.qcow2"}));
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(RebaseJobTest, ADryRunSaysWhatItWouldRead) {
  OpenAll();
  const JobInfo info = Rebase(Onto("copy.qcow2").Set("dry-run", "yes"));
  EXPECT_FALSE(info.error);
  EXPECT_GE(info.total_progress, 2 * kMiB);
  EXPECT_LE(info.total_progress, 3 * kMiB);
  EXPECT_EQ(ChainOf("vm").size(), 3u);
}

}  // namespace
}  // namespace chainfs::jobs
