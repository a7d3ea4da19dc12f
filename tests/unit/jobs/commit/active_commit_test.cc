// SPDX-License-Identifier: Apache-2.0
//
// Commits of the active layer: the disk goes on with base by itself, whoever has it open.
#include <atomic>
#include <thread>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

using ActiveCommitTest = CommitFixture;
using Bytes = std::vector<std::byte>;

TEST_F(ActiveCommitTest, TheDiskGoesOnWithBase) {
  MakeFive();
  Remember("e.qcow2");
  CopyAside({"a.qcow2", "b.qcow2", "c.qcow2", "d.qcow2", "e.qcow2"});
  Run({"qemu-img", "commit", "-q", "-d", "-b", "b.qcow2", Aside("e.qcow2")});
  OpenAll();
  {
    const DiskPtr disk = Disk("e");
    const auto ticket = disk->AdmitWriter();
    ASSERT_TRUE(ticket);
    Commit("e", "base=b.qcow2");
    EXPECT_EQ(Disk("e"), disk) << "handles stay";
    EXPECT_EQ(ChainOf("e"), (Words{"b.qcow2", "a.qcow2"}));
    EXPECT_FALSE(disk->read_only());
  }
  CloseAll();
  ExpectSound("b.qcow2");
  ExpectSame(At("b.qcow2"), Aside("b.qcow2"));
  Run({"qemu-img", "compare", "-F", "raw", At("b.qcow2"), At(".e.qcow2")});
  // The next daemon finds the disk there.
  OpenAll();
  EXPECT_EQ(ChainOf("e"), (Words{"b.qcow2", "a.qcow2"}));
  const Bytes data(4096, std::byte{0x77});
  ASSERT_TRUE(Disk("e")->Write(GuestOffset(0), data));
  EXPECT_TRUE(Records().empty());
  CloseAll();
  Io("b.qcow2", {"read -P 0x77 0 4k"});
}

TEST_F(ActiveCommitTest, IntoARawBaseThatIsShorter) {
  Create("a.raw", 2 * kMiB);
  Io("a.raw", {"write -P 1 0 2M"});
  Create("b.qcow2", 5 * kMiB, "a.raw");
  Io("b.qcow2", {"write -P 2 100k 50k", "write -P 3 4M 1M", "write -z 1M 300k"});
  Remember("b.qcow2");
  OpenAll();
  Commit("b", "base=a.raw");
  EXPECT_EQ(ChainOf("b"), Words{"a.raw"});
  EXPECT_FALSE(Disk("b")->read_only()) << Disk("b")->ReadOnlyReason();
  EXPECT_EQ(Disk("b")->size(), 5 * kMiB);
  CloseAll();
  Run({"qemu-img", "compare", "-f", "raw", "-F", "raw", At("a.raw"), At(".b.qcow2")});
}

TEST_F(ActiveCommitTest, ALongerBaseMakesTheDiskLongerAndTheCommandSaysSo) {
  Create("a.qcow2", 4 * kMiB);
  Io("a.qcow2", {"write -P 1 0 4M"});
  Create("b.qcow2", 2 * kMiB + 512, "a.qcow2");
  Io("b.qcow2", {"write -P 2 1M 64k"});
  CopyAside({"a.qcow2", "b.qcow2"});
  Run({"qemu-img", "commit", "-q", "-d", Aside("b.qcow2")});
  OpenAll();
  const JobInfo info = WaitEnd("b", AcceptedCommit("b", "base=a.qcow2"));
  EXPECT_FALSE(info.error) << *info.error;
  ASSERT_TRUE(info.warning);
  EXPECT_NE(info.warning->find("longer"), std::string::npos) << *info.warning;
  EXPECT_EQ(Disk("b")->size(), 4 * kMiB);
  CloseAll();
  ExpectSame(At("a.qcow2"), Aside("a.qcow2"));
}

TEST_F(ActiveCommitTest, GuestsWriteMeanwhile) {
  MakeFive();
  OpenAll();
  DiskPtr disk = Disk("e");
  std::optional<DiskAccess::Ticket> handle = disk->AdmitWriter();
  ASSERT_TRUE(handle);
  Bytes expected = Contents("e");
  std::atomic<bool> stop = false;
  std::atomic<int> writes = 0;
  // Each has its own part of the disk.
  std::vector<std::thread> guests;
  for (int g = 0; g < 3; ++g) {
    guests.emplace_back([&, g, random = Random(static_cast<uint64_t>(g) + 1)]() mutable {
      const uint64_t part = disk->size() / 3 / 512 * 512;
      const uint64_t begin = part * static_cast<uint64_t>(g);
      for (; !stop; ++writes) {
        const uint64_t at = begin + random.Below(part / 512 - 40) * 512;
        Bytes data((1 + random.Below(40)) * 512);
        random.Fill(data);
        if (random.OneIn(6)) {
          std::ranges::fill(data, std::byte{0});
          const Status zeroed = disk->WriteZeroes(GuestOffset(at), data.size(), random.OneIn(2));
          EXPECT_TRUE(zeroed) << zeroed.error().message;
        } else {
          const Status written = disk->Write(GuestOffset(at), data);
          EXPECT_TRUE(written) << written.error().message;
        }
        std::ranges::copy(data, expected.begin() + static_cast<ptrdiff_t>(at));
        Bytes read(data.size());
        EXPECT_TRUE(disk->Read(GuestOffset(at), read));
        EXPECT_TRUE(read == data) << at;
      }
    });
  }
  Commit("e", "base=a.qcow2");
  EXPECT_EQ(ChainOf("e"), Words{"a.qcow2"});
  const int at_the_switch = writes;
  WaitFor([&] { return writes > at_the_switch + 100; }, "writes to base");
  stop = true;
  for (std::thread& guest : guests) guest.join();
  EXPECT_TRUE(Contents("e") == expected);
  handle.reset();
  disk.reset();
  CloseAll();
  ExpectSound("a.qcow2");
  OpenAll();
  EXPECT_TRUE(Contents("e") == expected);
}

TEST_F(ActiveCommitTest, TheDiskDoesNotGrowMeanwhile) {
  MakeFive();
  OpenAll();
  const std::string id = AcceptedCommit("e", "base=a.qcow2,speed=64k");
  const DiskPtr disk = Disk("e");
  const Status grown = disk->Grow(16 * kMiB);
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().kind, ErrorKind::kBusy);
  EXPECT_EQ(disk->size(), 8 * kMiB);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
  EXPECT_TRUE(disk->Grow(16 * kMiB));
}

TEST_F(ActiveCommitTest, NoSnapshotIsTakenMeanwhile) {
  MakeFive();
  OpenAll();
  const std::string id = AcceptedCommit("e", "base=a.qcow2,speed=64k");
  const auto refused = jobs_->ReserveDisk(*Disk("e"), "snapshot", "", false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
  EXPECT_NE(refused.error().message.find(id), std::string::npos) << refused.error().message;
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
  EXPECT_TRUE(jobs_->ReserveDisk(*Disk("e"), "snapshot", "", false));
}

TEST_F(ActiveCommitTest, CancelLeavesTheDiskAsItWas) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = AcceptedCommit("e", "base=b.qcow2,speed=256k");
  PauseAfterSome("e", id);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  EXPECT_TRUE(WaitEnd("e", id).cancelled);
  EXPECT_EQ(ChainOf("e").size(), 5u);
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  OpenAll();
  Commit("e", "base=b.qcow2");
  CloseAll();
  Run({"qemu-img", "compare", "-F", "raw", At("b.qcow2"), At(".e.qcow2")});
}

TEST_F(ActiveCommitTest, GoesOnAfterARestart) {
  MakeFive();
  OpenAll();
  const std::string id = AcceptedCommit("e", "base=b.qcow2,speed=64k");
  PauseAfterSome("e", id);
  const Bytes data(100'000, std::byte{0x31});
  ASSERT_TRUE(Disk("e")->Write(GuestOffset(1'000'448), data));
  const Bytes expected = Contents("e");
  CloseAll();
  OpenAll();
  EXPECT_TRUE(Contents("e") == expected);
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("e", id).has_value(); }, "the job again");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), id, 0));
  ASSERT_TRUE(jobs_->Resume(Disk("e"), id));
  const JobInfo info = WaitEnd("e", id);
  EXPECT_FALSE(info.error) << *info.error;
  EXPECT_EQ(ChainOf("e"), (Words{"b.qcow2", "a.qcow2"}));
  EXPECT_TRUE(Contents("e") == expected);
}

TEST_F(ActiveCommitTest, MergedLayersAreEmptiedOrDeleted) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  Snapshot("e", {.target = "f.qcow2"});
  const JobInfo emptied = Commit("e", "base=e.qcow2,delete=empty");
  EXPECT_EQ(emptied.unneeded, Words{At("f.qcow2")});
  const JobInfo removed = Commit("e", "base=c.qcow2,delete=yes");
  EXPECT_EQ(removed.removed, (Words{At("e.qcow2"), At("d.qcow2")}));
  EXPECT_FALSE(std::filesystem::exists(At("d.qcow2")));
  EXPECT_EQ(ChainOf("e"), (Words{"c.qcow2", "b.qcow2", "a.qcow2"}));
  EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
  CloseAll();
  Run({"qemu-img", "compare", "-F", "raw", At("c.qcow2"), At(".e.qcow2")});
}

TEST_F(ActiveCommitTest, WhatCannotBeIsRefused) {
  MakeFive();
  Create("clone.qcow2", 8 * kMiB, "b.qcow2");
  OpenAll();
  const Error shared = RefusedCommit("e", "base=a.qcow2");
  EXPECT_EQ(shared.kind, ErrorKind::kBusy);
  EXPECT_NE(shared.message.find("clone"), std::string::npos) << shared.message;
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_TRUE(Records().empty());
}

}  // namespace
}  // namespace chainfs::jobs
