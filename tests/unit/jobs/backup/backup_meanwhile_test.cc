// SPDX-License-Identifier: Apache-2.0
//
// What happens to a disk while it is backed up: guests write everywhere, it grows, it is resized,
// its job is paused; and what is no target.
#include <atomic>
#include <thread>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class BackupMeanwhileTest : public StreamFixture {
 protected:
  void SetUp() override {
    MakeFive();
    Remember("e.qcow2");
    OpenAll();
  }
  Result<std::string> Start(const std::string& target, const std::string& speed = "0") {
    return jobs_->Start({.type = "backup",
                         .disk = Disk("e"),
                         .arguments = verbs::Arguments().Set("target", target).Set("speed", speed),
                         .privileged = true});
  }
  std::string Started(const std::string& target, const std::string& speed = "0") {
    const Result<std::string> id = Start(target, speed);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  void LetGo(const std::string& id) { ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), id, 0)); }
  void EndsWell(const std::string& id) {
    const JobInfo info = WaitEnd("e", id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    EXPECT_EQ(ChainOf("e").size(), 5u);
    EXPECT_EQ(ChainOf("e").front(), "e.qcow2");
  }
  void ExpectIsThePoint(const std::string& target) const {
    Run({"qemu-img", "compare", "-f", FormatOf(target), "-F", "raw", At(target), At(".e.qcow2")});
    ExpectSound(target);
  }
};

TEST_F(BackupMeanwhileTest, GuestsWriteEverywhere) {
  for (const std::string target : {"t.raw", "t.qcow2"}) {
    CloseAll();
    Remember("e.qcow2");
    OpenAll();
    DiskPtr disk = Disk("e");
    std::vector<std::byte> shown(disk->size());
    ASSERT_TRUE(disk->Read(GuestOffset(0), shown));
    std::atomic<bool> stop = false;
    std::atomic<int> writes = 0;
    const std::string id = Started(target, "1");
    std::thread guest([&, random = Random(TestSeed())]() mutable {
      for (; !stop; ++writes) {
        const uint64_t length = 512 * random.Between(1, 150);
        const uint64_t at = 512 * random.Below((shown.size() - length) / 512);
        const auto here = std::span(shown).subspan(at, length);
        if (random.OneIn(5)) {
          std::ranges::fill(here, std::byte{0});
          EXPECT_TRUE(disk->WriteZeroes(GuestOffset(at), length, random.OneIn(2)));
        } else {
          random.Fill(here);
          EXPECT_TRUE(disk->Write(GuestOffset(at), here));
        }
      }
    });
    WaitFor([&] { return writes > 200; }, "writes during the backup");
    LetGo(id);
    EndsWell(id);
    stop = true;
    guest.join();
    std::vector<std::byte> now(shown.size());
    ASSERT_TRUE(disk->Read(GuestOffset(0), now));
    EXPECT_TRUE(now == shown) << "what the guest has written is not all there";
    disk.reset();
    CloseAll();
    ExpectSound("e.qcow2");
    ExpectIsThePoint(target);
    OpenAll();
    Disk("e")->Read(GuestOffset(0), now).value();
    EXPECT_TRUE(now == shown) << "after a restart";
  }
}

// The target has the size of the point, the disk its new one.
TEST_F(BackupMeanwhileTest, TheDiskGrows) {
  const std::string id = Started("t.qcow2", "1");
  const Status grown = Disk("e")->Grow(9 * kMiB);
  if (grown) {
    const std::vector<std::byte> data(512, std::byte{0x44});
    ASSERT_TRUE(Disk("e")->Write(GuestOffset(9 * kMiB - 512), data));
  } else {
    EXPECT_EQ(grown.error().kind, ErrorKind::kBusy) << grown.error().message;
    EXPECT_NE(grown.error().message.find(id), std::string::npos) << grown.error().message;
  }
  LetGo(id);
  EndsWell(id);
  EXPECT_EQ(Disk("e")->size(), (grown ? 9 : 8) * kMiB);
  CloseAll();
  ExpectIsThePoint("t.qcow2");
  ExpectSound("e.qcow2");
  const auto info =
      nlohmann::json::parse(Run({"qemu-img", "info", "--output=json", At("t.qcow2")}));
  EXPECT_EQ(info["virtual-size"], 8 * kMiB);
}

TEST_F(BackupMeanwhileTest, ItIsPausedAndGoesOn) {
  const std::string id = Started("t.qcow2", "1");
  ASSERT_TRUE(jobs_->Pause(Disk("e"), id));
  WaitFor([&] { return jobs_->Find("e", id)->status == JobStatus::kPaused; }, "a pause");
  EXPECT_FALSE(jobs_->Pause(Disk("e"), id)) << "once more";
  const uint64_t copied = jobs_->Find("e", id)->copied;
  LetGo(id);
  const std::vector<std::byte> data(kMiB, std::byte{0x45});
  ASSERT_TRUE(Disk("e")->Write(GuestOffset(0), data));
  EXPECT_EQ(jobs_->Find("e", id)->copied, copied) << "it has gone on by itself";
  ASSERT_TRUE(jobs_->Resume(Disk("e"), id));
  EndsWell(id);
  CloseAll();
  ExpectIsThePoint("t.qcow2");
}

TEST_F(BackupMeanwhileTest, WhatIsNoTarget) {
  Run({"cp", At("a.qcow2"), At("there.qcow2")});
  Run({"mkdir", "-p", At(".chainfs")});
  for (const auto& [target, kind] :
       {std::pair<std::string, ErrorKind>{"e.qcow2", ErrorKind::kExists},
        {"a.qcow2", ErrorKind::kExists},
        {"there.qcow2", ErrorKind::kExists},
        {"/nowhere/t.qcow2", ErrorKind::kNotFound},
        {".chainfs/t.qcow2", ErrorKind::kInvalidArgument}}) {
    const Result<std::string> id = Start(target);
    ASSERT_FALSE(id) << target;
    EXPECT_EQ(id.error().kind, kind) << target << ": " << id.error().message;
    EXPECT_NE(id.error().message.find(target.substr(0, 4)), std::string::npos)
        << id.error().message;
  }
  EXPECT_TRUE(Records("").empty());
  EXPECT_EQ(ChainOf("e").size(), 5u);
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

// Its id is taken until it is dismissed, which it cannot be before it has ended.
TEST_F(BackupMeanwhileTest, ItsIdIsTakenUntilItIsDismissed) {
  const std::string id = Started("t.qcow2", "1");
  EXPECT_EQ(jobs_->Dismiss(Disk("e"), id).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(jobs_->Dismiss(Disk("e"), "other").error().kind, ErrorKind::kNoSuchJob);
  LetGo(id);
  EndsWell(id);
  const auto again = [&] {
    return jobs_->Start({.type = "backup",
                         .disk = Disk("e"),
                         .arguments = verbs::Arguments().Set("target", "t2.qcow2").Set("id", id),
                         .privileged = true});
  };
  EXPECT_EQ(again().error().kind, ErrorKind::kExists);
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), id));
  EXPECT_EQ(jobs_->Dismiss(Disk("e"), id).error().kind, ErrorKind::kNoSuchJob);
  const auto second = again();
  ASSERT_TRUE(second) << second.error().message;
  EndsWell(*second);
}

}  // namespace
}  // namespace chainfs::jobs
