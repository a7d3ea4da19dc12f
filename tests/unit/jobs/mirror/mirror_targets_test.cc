// SPDX-License-Identifier: Apache-2.0
//
// Targets of every kind: what they are built on in the end, whatever their clusters are like, and
// whoever made them.
#include <gtest/gtest.h>

#include "tests/unit/jobs/mirror/mirror_fixture.h"

namespace chainfs::jobs {
namespace {

class MirrorTargetsTest : public MirrorFixture {
 protected:
  struct Backing {
    std::string file;
    std::string format;
    bool operator==(const Backing&) const = default;
  };
  friend std::ostream& operator<<(std::ostream& out, const Backing& backing) {
    return out << backing.file << " as " << backing.format;
  }
  // As the header has it, without following it.
  Backing BackingOf(const std::string& file) const {
    const auto info = nlohmann::json::parse(
        Run({"qemu-img", "info", "-U", "-f", FormatOf(file), "--output=json", At(file)}));
    return {.file = info.value("backing-filename", ""),
            .format = info.value("backing-filename-format", "")};
  }
  // Of the job: while it runs, and when the disk has moved to the target.
  void ExpectBuiltOn(const std::string& disk, const std::string& sync, const Backing& backing) {
    SCOPED_TRACE(sync);
    const std::string target = disk + "-" + sync + ".qcow2";
    BeginGuest(disk);
    Random random;
    const std::string id = Mirror(disk, {{"target", target}, {"sync", sync}});
    EXPECT_EQ(BackingOf(target), backing) << "from the start";
    WaitStatus(disk, id, JobStatus::kReady);
    WriteAnywhere(random, 5);
    Complete(disk, id, "pivot");
    EXPECT_EQ(BackingOf(target), backing) << "in the end";
    ExpectGuestSees(disk);
    WriteAnywhere(random, 5);
    EndAll();
    ExpectOnDisk(target);
  }
};

TEST_F(MirrorTargetsTest, AreBuiltOnWhatTheirSyncSays) {
  for (const auto& [sync, backing] : {std::pair<std::string, Backing>{"full", {"", ""}},
                                      {"top", {"d.qcow2", "qcow2"}},
                                      {"none", {"e.qcow2", "qcow2"}}}) {
    MakeFive();
    OpenAll();
    ExpectBuiltOn("e", sync, backing);
    Run({"rm", "-rf", At(".chainfs"), At("e-" + sync + ".qcow2")});
  }
}

// The format is that of the image below, not that of the target.
TEST_F(MirrorTargetsTest, ARawBaseStaysRaw) {
  Create("base.raw", 4 * kMiB);
  Io("base.raw", {"write -P 1 0 4M"});
  Create("vm.qcow2", 4 * kMiB, "base.raw");
  Io("vm.qcow2", {"write -P 2 1M 64k"});
  OpenAll();
  ExpectBuiltOn("vm", "top", {"base.raw", "raw"});
}

TEST_F(MirrorTargetsTest, OfADiskOfOneLayerTopIsAll) {
  Create("vm.qcow2", 4 * kMiB);
  Io("vm.qcow2", {"write -P 2 1M 64k", "write -P 3 3M 512"});
  OpenAll();
  ExpectBuiltOn("vm", "top", {"", ""});
}

// What a guest writes is a part of a cluster of the target, whose rest comes from below.
TEST_F(MirrorTargetsTest, LargeAndSmallClusters) {
  for (const std::string cluster : {"2097152", "512"}) {
    for (const std::string sync : {"full", "top", "none"}) {
      for (const std::string mode : {"background", "write-blocking"}) {
        SCOPED_TRACE(testing::Message() << cluster << " " << sync << " " << mode);
        MakeFive();
        OpenAll();
        BeginGuest("e");
        Random random;
        const std::string id = Mirror("e", {{"target", "copy.qcow2"},
                                            {"sync", sync},
                                            {"copy-mode", mode},
                                            {"cluster_size", cluster}});
        WriteAnywhere(random, 10);
        WaitStatus("e", id, JobStatus::kReady);
        WriteAnywhere(random, 10);
        Write(3 * kMiB + 512, 512, 91);
        Zero(5 * kMiB + 1024, 512);
        Complete("e", id, "pivot");
        ExpectGuestSees("e");
        EndAll();
        ExpectOnDisk("copy.qcow2");
        Run({"rm", "-rf", At(".chainfs"), At("copy.qcow2")});
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(MirrorTargetsTest, WithSubclusters) {
  struct Case {
    const char* sync;
    const char* mode;
    const char* wanted;
    bool has;
  };
  for (const Case& c :
       {Case{"full", "background", "on", true}, Case{"top", "write-blocking", "on", true},
        Case{"none", "background", "on", true}, Case{"top", "background", "", true},
        Case{"none", "write-blocking", "", true}, Case{"full", "background", "", false},
        Case{"none", "background", "off", false}}) {
    SCOPED_TRACE(testing::Message() << c.sync << " " << c.mode << " " << c.wanted);
    Create("base.qcow2", 8 * kMiB, "", "extended_l2=on");
    Io("base.qcow2", {"write -P 1 0 3M", "write -P 2 5M 4k"});
    Create("vm.qcow2", 8 * kMiB, "base.qcow2", "extended_l2=on,cluster_size=128k");
    Io("vm.qcow2", {"write -P 3 1M 12k", "write -z 2M 4k", "discard 5M 64k"});
    OpenAll();
    BeginGuest("vm");
    Random random;
    Pairs words = {{"target", "copy.qcow2"}, {"sync", c.sync}, {"copy-mode", c.mode}};
    if (*c.wanted != '\0') words.emplace_back("extended_l2", c.wanted);
    const std::string id = Mirror("vm", words);
    WriteAnywhere(random, 10);
    WaitStatus("vm", id, JobStatus::kReady);
    WriteAnywhere(random, 10);
    Write(3 * kMiB + 512, 512, 91);
    Complete("vm", id, "pivot");
    EXPECT_EQ(Disk("vm")->chain()->active->image->has_subclusters(), c.has);
    WriteAnywhere(random, 10);
    ExpectGuestSees("vm");
    EndAll();
    ExpectOnDisk("copy.qcow2");
    const std::string info = Run({"qemu-img", "info", "--output=json", At("copy.qcow2")});
    EXPECT_EQ(info.contains("\"extended-l2\": true"), c.has) << info;
    Run({"rm", "-rf", At(".chainfs"), At("copy.qcow2")});
    if (HasFailure()) return;
  }
}

TEST_F(MirrorTargetsTest, AnExistingOneOfTheRightBaseIsFilled) {
  MakeFive();
  Create("right.qcow2", 8 * kMiB, "d.qcow2", "cluster_size=4k");
  Create("wrong.qcow2", 8 * kMiB, "b.qcow2");
  OpenAll();
  BeginGuest("e");
  Random random;
  const Error wrong =
      RefusedMirror("e", {{"target", "wrong.qcow2"}, {"sync", "top"}, {"existing", "yes"}});
  EXPECT_EQ(wrong.kind, ErrorKind::kInvalidArgument) << wrong.message;
  const std::string id =
      Mirror("e", {{"target", "right.qcow2"}, {"sync", "top"}, {"existing", "yes"}});
  WriteAnywhere(random, 10);
  WaitStatus("e", id, JobStatus::kReady);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e").front(), "right.qcow2");
  EXPECT_EQ(ChainOf("e").size(), 5u);
  ExpectGuestSees("e");
  EndAll();
  ExpectOnDisk("right.qcow2");
}

// Whatever it is built on shows through nowhere.
TEST_F(MirrorTargetsTest, AnExistingOverlayHidesWhatItIsBuiltOn) {
  MakeFive();
  Create("other.qcow2", 8 * kMiB);
  Io("other.qcow2", {"write -P 200 0 8M"});
  Create("over.qcow2", 8 * kMiB, "other.qcow2");
  OpenAll();
  BeginGuest("e");
  const std::string id = Mirror("e", {{"target", "over.qcow2"}, {"existing", "yes"}});
  WaitStatus("e", id, JobStatus::kReady);
  Zero(kMiB, kMiB);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e"), (Words{"over.qcow2", "other.qcow2"}));
  ExpectGuestSees("e");
  EndAll();
  ExpectOnDisk("over.qcow2");
}

TEST_F(MirrorTargetsTest, IsNotCompletedBeforeItIsReady) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  Random random;
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}, {"speed", "1"}});
  const Status early = jobs_->Complete(guest_, id, verbs::Arguments().Set("then", "pivot"));
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(early.error().message.find("running"), std::string::npos) << early.error().message;
  // Paused while it runs, and again while it is ready; the guest writes all the time.
  ASSERT_TRUE(jobs_->Pause(guest_, id));
  WaitStatus("e", id, JobStatus::kPaused);
  WriteAnywhere(random, 10);
  ASSERT_TRUE(jobs_->SetSpeed(guest_, id, 0));
  ASSERT_TRUE(jobs_->Resume(guest_, id));
  WaitStatus("e", id, JobStatus::kReady);
  ASSERT_TRUE(jobs_->Pause(guest_, id));
  WaitStatus("e", id, JobStatus::kStandby);
  WriteAnywhere(random, 10);
  ASSERT_TRUE(jobs_->Resume(guest_, id));
  WaitStatus("e", id, JobStatus::kReady);
  Complete("e", id, "pivot");
  ExpectGuestSees("e");
}

}  // namespace
}  // namespace chainfs::jobs
