// SPDX-License-Identifier: Apache-2.0
//
// Mirrors from their start to each of their ends, under a guest that writes.
#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/unit/jobs/mirror/mirror_fixture.h"

namespace chainfs::jobs {
namespace {

class MirrorTest : public MirrorFixture {
 protected:
  // As qemu-img counts them.
  uint64_t CompressedClusters(const std::string& file) {
    const CommandResult result =
        RunCommand({"qemu-img", "check", "--output=json", "-f", "qcow2", At(file)});
    EXPECT_TRUE(result.ok()) << result.Describe();
    return nlohmann::json::parse(result.out).value("compressed-clusters", uint64_t{0});
  }
  void CompressesAtFirst(const std::string& compress) {
    MakeFive();
    OpenAll();
    BeginGuest("e");
    const std::string id = Mirror(
        "e", {{"target", "copy.qcow2"}, {"compress", compress}, {"copy-mode", "write-blocking"}});
    Random random;
    WriteAnywhere(random, 10);
    WaitStatus("e", id, JobStatus::kReady);
    EndAll();
    EXPECT_GT(CompressedClusters("copy.qcow2"), 20u);
    OpenAll();
    jobs_->ResumeRecorded();
    guest_ = Disk("e");
    WaitStatus("e", id, JobStatus::kReady);
    // What is written from now on is stored as it is, whether the target had it or not.
    Write(0, 8 * kMiB, 5);
    Complete("e", id, "pivot");
    ExpectGuestSees("e");
    EndAll();
    EXPECT_EQ(CompressedClusters("copy.qcow2"), 0u);
    ExpectOnDisk("copy.qcow2");
  }
};

TEST_F(MirrorTest, KeepsAFullCopyInEitherFormat) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  for (const std::string target : {"copy.raw", "copy.qcow2"}) {
    const std::string id = Mirror("e", {{"target", target}, {"then", "keep"}});
    const JobInfo info = WaitEnd("e", id);
    EXPECT_FALSE(info.error) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
  }
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"}));
  EXPECT_TRUE(Records().empty());
  EXPECT_TRUE(Records("intent-").empty());
  EndAll();
  for (const std::string target : {"copy.raw", "copy.qcow2"}) {
    EXPECT_EQ(ChainOnDisk(target), Words{target});
    Run({"qemu-img", "compare", "-f", FormatOf(target), "-F", "raw", At(target), At(".e.qcow2")});
    ExpectSound(target);
  }
  ExpectAsRemembered("e.qcow2");
}

// It is a disk of its own only once it is complete.
TEST_F(MirrorTest, TheTargetIsNotShownBeforeItIsKept) {
  MakeFive();
  OpenAll();
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WaitStatus("e", id, JobStatus::kReady);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("copy"), nullptr);
  Complete("e", id, "keep");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("copy"), nullptr);
}

TEST_F(MirrorTest, IsHeldReadyAndTheDiskGoesOnWithTheCopy) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  Random random;
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WriteAnywhere(random, 30);
  const JobInfo ready = WaitStatus("e", id, JobStatus::kReady);
  EXPECT_EQ(Fact(ready, "then"), "hold");
  EXPECT_EQ(Fact(ready, "copy-mode"), "background");
  EXPECT_EQ(Fact(ready, "actively-synced"), "false");
  EXPECT_EQ(Events("BLOCK_JOB_READY").size(), 1u);
  WriteAnywhere(random, 30);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e"), Words{"copy.qcow2"});
  ExpectGuestSees("e");
  WriteAnywhere(random, 30);
  ExpectGuestSees("e");
  Restart();
  EXPECT_EQ(ChainOf("e"), Words{"copy.qcow2"});
  ExpectGuestSees("e");
  EndAll();
  ExpectOnDisk("copy.qcow2");
}

TEST_F(MirrorTest, CopiesOnlyWhatTheActiveLayerHas) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  Random random;
  Write(0, 4096, 99);
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}, {"sync", "top"}});
  const JobInfo ready = WaitStatus("e", id, JobStatus::kReady);
  EXPECT_LT(ready.copied, 3 * kMiB);
  WriteAnywhere(random, 20);
  Zero(kMiB, 3 * kMiB);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e"), (Words{"copy.qcow2", "d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"}));
  ExpectGuestSees("e");
  EndAll();
  ExpectOnDisk("copy.qcow2");
}

TEST_F(MirrorTest, CopiesOnlyWhatIsWrittenFromNowOn) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  Random random;
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}, {"sync", "none"}});
  EXPECT_EQ(WaitStatus("e", id, JobStatus::kReady).copied, 0u);
  Write(5 * kMiB + 512, 512, 77);
  Zero(2 * kMiB, kMiB);
  WriteAnywhere(random, 10);
  EXPECT_EQ(jobs_->Complete(guest_, id, verbs::Arguments().Set("then", "keep")).error().kind,
            ErrorKind::kInvalidArgument);
  Complete("e", id, "pivot");
  EXPECT_EQ(ChainOf("e").size(), 6u);
  EXPECT_EQ(ChainOf("e").front(), "copy.qcow2");
  ExpectGuestSees("e");
  WriteAnywhere(random, 10);
  EndAll();
  ExpectOnDisk("copy.qcow2");
}

TEST_F(MirrorTest, AWriteEndsWhenTheTargetHasItToo) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  Random random;
  const std::string id = Mirror("e", {{"target", "copy.raw"}, {"copy-mode", "write-blocking"}});
  JobInfo info = WaitStatus("e", id, JobStatus::kReady);
  EXPECT_EQ(Fact(info, "actively-synced"), "true");
  WriteAnywhere(random, 20);
  info = *jobs_->Find("e", id);
  EXPECT_EQ(Fact(info, "dirty-bytes"), "0");
  // What the target has is what the guest has written, with nothing done in the background.
  const std::string copy = ReadTextFile(At("copy.raw"));
  ASSERT_EQ(copy.size(), shown_.size());
  EXPECT_EQ(std::memcmp(copy.data(), shown_.data(), copy.size()), 0);
  Complete("e", id, "keep");
  const Bytes then = shown_;
  WriteAnywhere(random, 5);
  EndAll();
  shown_ = then;
  ExpectOnDisk("copy.raw");
}

TEST_F(MirrorTest, TheCopyModeChangesWhileItRuns) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WaitStatus("e", id, JobStatus::kReady);
  const auto change = [&](const char* mode) {
    return jobs_->Change(guest_, id, verbs::Arguments().Set("copy-mode", mode));
  };
  ASSERT_TRUE(change("write-blocking"));
  EXPECT_EQ(Fact(*jobs_->Find("e", id), "actively-synced"), "true");
  Write(0, kMiB, 3);
  EXPECT_EQ(Fact(*jobs_->Find("e", id), "dirty-bytes"), "0");
  ASSERT_TRUE(change("background"));
  Write(kMiB, kMiB, 4);
  // It is recorded.
  Restart();
  guest_ = Disk("e");
  EXPECT_EQ(Fact(WaitStatus("e", id, JobStatus::kReady), "copy-mode"), "background");
  Complete("e", id, "pivot");
  ExpectGuestSees("e");
}

TEST_F(MirrorTest, WhatIsCopiedAtFirstIsCompressedByZlib) { CompressesAtFirst("zlib"); }
TEST_F(MirrorTest, WhatIsCopiedAtFirstIsCompressedByZstd) { CompressesAtFirst("zstd"); }

TEST_F(MirrorTest, ACompressedMirrorGoesOnAfterARestart) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  const std::string id =
      Mirror("e", {{"target", "copy.qcow2"}, {"compress", "zstd"}, {"speed", "1M"}});
  Write(6 * kMiB, kMiB, 7);
  Restart();
  guest_ = Disk("e");
  ASSERT_TRUE(jobs_->SetSpeed(guest_, id, 0));
  WaitStatus("e", id, JobStatus::kReady);
  Complete("e", id, "keep");
  EndAll();
  EXPECT_GT(CompressedClusters("copy.qcow2"), 0u);
  ExpectOnDisk("copy.qcow2");
}

TEST_F(MirrorTest, GuestThreadsLoseNothingAtThePivot) {
  MakeFive();
  OpenAll();
  BeginGuest("e");
  for (const std::string mode : {"background", "write-blocking"}) {
    std::atomic<bool> done = false;
    std::vector<std::thread> threads;
    constexpr uint64_t kShare = 2 * kMiB;
    for (uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        Random random;
        while (!done) {
          const uint64_t length = 512 * (1 + random.Below(100));
          const uint64_t offset = t * kShare + random.Below((kShare - length) / 512) * 512;
          Write(offset, length, static_cast<int>(random.Below(255)) + 1);
        }
      });
    }
    const std::string id =
        Mirror("e", {{"target", "of-" + mode + ".qcow2"}, {"copy-mode", mode}, {"then", "pivot"}});
    const JobInfo info = WaitEnd("e", id);
    EXPECT_FALSE(info.error) << *info.error;
    done = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ChainOf("e"), Words{"of-" + mode + ".qcow2"});
    ExpectGuestSees("e");
  }
  EndAll();
  ExpectOnDisk("of-write-blocking.qcow2");
}

TEST_F(MirrorTest, ACancelledOneLeavesNothing) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WaitStatus("e", id, JobStatus::kReady);
  EXPECT_TRUE(Exists("copy.qcow2"));
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
  EXPECT_FALSE(Exists("copy.qcow2"));
  EXPECT_TRUE(Records("").empty());
  EndAll();
  ExpectAsRemembered("e.qcow2");
}

TEST_F(MirrorTest, TheDiskKeepsItsSizeMeanwhile) {
  MakeFive();
  OpenAll();
  const std::string id = Mirror("e", {{"target", "copy.qcow2"}});
  WaitStatus("e", id, JobStatus::kReady);
  const Status grown = Disk("e")->Grow(9 * kMiB);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().kind, ErrorKind::kBusy);
  EXPECT_NE(grown.error().message.find(id), std::string::npos);
  EXPECT_EQ(Disk("e")->size(), 8 * kMiB);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
  EXPECT_TRUE(Disk("e")->Grow(9 * kMiB));
}

TEST_F(MirrorTest, AnExistingTargetIsWrittenOver) {
  MakeFive();
  Create("raw.raw", 8 * kMiB);
  Io("raw.raw", {"write -P 200 0 8M"});
  Create("thin.qcow2", 8 * kMiB);
  Io("thin.qcow2", {"write -P 201 1M 6M"});
  Remember("e.qcow2");
  OpenAll();
  for (const std::string target : {"raw.raw", "thin.qcow2"}) {
    const JobInfo info =
        WaitEnd("e", Mirror("e", {{"target", target}, {"existing", "yes"}, {"then", "keep"}}));
    EXPECT_FALSE(info.error) << *info.error;
  }
  EndAll();
  for (const std::string target : {"raw.raw", "thin.qcow2"}) {
    Run({"qemu-img", "compare", "-f", FormatOf(target), "-F", "raw", At(target), At(".e.qcow2")});
    ExpectSound(target);
  }
}

TEST_F(MirrorTest, ADryRunTellsWhatItWouldCopy) {
  MakeFive();
  OpenAll();
  const auto estimate = [&](const char* sync) {
    const JobInfo info =
        WaitEnd("e", Mirror("e", {{"target", "copy.qcow2"}, {"sync", sync}, {"dry-run", "yes"}}));
    EXPECT_FALSE(info.error) << *info.error;
    return info.total_progress;
  };
  EXPECT_GT(estimate("full"), 5 * kMiB);
  EXPECT_LT(estimate("top"), 2 * kMiB);
  EXPECT_EQ(estimate("none"), 0u);
  EXPECT_FALSE(Exists("copy.qcow2"));
  EXPECT_TRUE(Records("").empty());
}

}  // namespace
}  // namespace chainfs::jobs
