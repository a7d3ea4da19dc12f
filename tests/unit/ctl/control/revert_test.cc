// SPDX-License-Identifier: Apache-2.0
//
// Revert: a disk goes back to an older layer, and what was written since is gone, and nothing else.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "ctl/control/commands.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::control {
namespace {

using jobs::WaitFor;
using jobs::Words;

class RevertTest : public jobs::StreamFixture {
 protected:
  static constexpr uid_t kUser = 1000;  // not root

  void MakeVm(int snapshots) {
    Create("vm.qcow2", 8 * kMiB);
    Io("vm.qcow2", {"write -P 1 0 1M"});
    OpenAll();
    for (int i = 1; i <= snapshots; ++i) {
      Snapshot("vm");
      Write(static_cast<char>(i + 1));
    }
  }
  // The first sector says in which layer the disk is.
  void Write(char with) {
    const std::vector<std::byte> data(512, static_cast<std::byte>(with));
    const Status written = Disk("vm")->Write(GuestOffset(0), data);
    ASSERT_TRUE(written) << written.error().message;
    ASSERT_TRUE(Disk("vm")->Flush());
  }
  int First() {
    std::vector<std::byte> data(512);
    EXPECT_TRUE(Disk("vm")->Read(GuestOffset(0), data));
    return static_cast<int>(data[0]);
  }
  // But those of names.
  Words OtherRecords() const {
    Words names = Records("");
    std::erase_if(names, [](const std::string& name) { return name.starts_with("name-"); });
    return names;
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }
  Status Revert(const std::string& to, bool dry_run = false, const std::string& more = "") {
    ChainLimits limits(catalog_->records(), 0);
    ReadTraces traces(*catalog_, *events_);
    Commands commands(*catalog_, *jobs_, limits, traces, CommandAccess(kUser, {}),
                      {.release_events = [] {}, .limits_changed = [] {}});
    const std::string agreed = dry_run ? ",dry-run=yes" : ",yes=yes";
    return commands.Execute("revert", "to=" + to + agreed + more, Disk("vm"), {.uid = kUser});
  }
  Error Refused(const std::string& to) {
    const Words before = ChainOf("vm");
    const Status done = Revert(to);
    EXPECT_FALSE(done);
    EXPECT_EQ(ChainOf("vm"), before);
    return done ? Error{} : done.error();
  }
  void ExpectWritable() {
    WaitFor(
        [&] {
          EXPECT_TRUE(catalog_->Rescan());
          return !Disk("vm")->read_only();
        },
        "writable");
  }
};

TEST_F(RevertTest, TheDiskIsWhatItWasAndGoesOn) {
  MakeVm(3);
  const uint64_t generation = Disk("vm")->chain()->generation;
  ASSERT_TRUE(Revert("vm.1.qcow2", true));
  EXPECT_EQ(First(), 4);
  const Status done = Revert("vm.1.qcow2");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.1.qcow2", "vm.qcow2"}));
  EXPECT_GT(Disk("vm")->chain()->generation, generation);
  EXPECT_EQ(First(), 2);
  EXPECT_FALSE(Exists("vm.2.qcow2"));
  EXPECT_FALSE(Exists("vm.3.qcow2"));
  EXPECT_EQ(catalog_->Disks().size(), 2u);
  ExpectWritable();
  Write(9);
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.1.qcow2", "vm.qcow2"}));
  EXPECT_EQ(First(), 9);
  ExpectWritable();
  Snapshot("vm");
  CloseAll();
  ExpectSound("vm.qcow2");
  ExpectSound("vm.1.qcow2");
}

TEST_F(RevertTest, ToWhereTheChainBegan) {
  MakeVm(1);
  ASSERT_TRUE(Revert("vm.qcow2"));
  EXPECT_EQ(First(), 1);
  EXPECT_TRUE(OtherRecords().empty());  // nothing is left to be said
  ExpectWritable();
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("vm"), Words{"vm.qcow2"});
  ExpectWritable();
}

// Made by qemu-img: the name of the disk stays with another file.
TEST_F(RevertTest, AnOverlayThatWasNoSnapshotOfOurs) {
  Create("base.raw", 4 * kMiB);
  Io("base.raw", {"write -P 1 0 1M"});
  Create("vm.qcow2", 8 * kMiB, "base.raw");
  Io("vm.qcow2", {"write -P 2 0 1M"});
  OpenAll();
  EXPECT_EQ(First(), 2);
  ASSERT_TRUE(Revert("base.raw"));
  EXPECT_EQ(First(), 1);
  EXPECT_EQ(Disk("vm")->size(), 4 * kMiB);
  ExpectWritable();
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("vm"), Words{"base.raw"});
  EXPECT_EQ(First(), 1);
  EXPECT_EQ(catalog_->Disks().size(), 1u);
  ExpectWritable();
}

TEST_F(RevertTest, IsRefusedWithTheReason) {
  MakeVm(2);
  EXPECT_EQ(Refused("vm.2.qcow2").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("none.qcow2").kind, ErrorKind::kNotFound);
  EXPECT_EQ(Revert("vm.qcow2", false, ",generation=77").error().kind, ErrorKind::kStale);
  std::optional<DiskAccess::Ticket> ticket = Disk("vm")->AdmitWriter();
  ASSERT_TRUE(ticket);
  EXPECT_NE(Refused("vm.qcow2").message.find("is open for writing"), std::string::npos);
  Write(5);  // and goes on
  ticket.reset();
  const std::string job = Accepted({.disk = "vm", .speed = 1});
  EXPECT_NE(Refused("vm.qcow2").message.find(job), std::string::npos);
  ASSERT_TRUE(jobs_->Cancel(Disk("vm"), job));
  WaitEnd("vm", job);
  EXPECT_EQ(First(), 5);
}

// A job's layers must not go, also while the revert is only being carried out.
TEST_F(RevertTest, AJobThatWaitsToBeTakenUpHoldsIt) {
  MakeVm(2);
  Accepted({.disk = "vm", .id = "s", .speed = 1});
  CloseAll();
  OpenAll();
  ASSERT_TRUE(
      catalog_->records().Write(*Disk("vm"), "job-s",
                                "version=1\nid=s\ntype=stream\ndisk=vm\n"
                                "top=/elsewhere\nbase=\nspeed=0\non-error=report\nphase=copy\n"
                                "paused=0\nprogress=0\n"));
  jobs_->ResumeRecorded();
  EXPECT_NE(Refused("vm.qcow2").message.find("waits to be taken up"), std::string::npos);
}

TEST_F(RevertTest, WhatOthersAreBuiltOnIsNotDropped) {
  MakeVm(3);
  Create("clone.qcow2", 8 * kMiB, "vm.2.qcow2");  // nobody has looked since
  EXPECT_NE(Refused("vm.1.qcow2").message.find("clone is built on it"), std::string::npos);
  // Nor would a disk be of use whose active layer others are built on.
  EXPECT_NE(Refused("vm.2.qcow2").message.find("clone is built on it"), std::string::npos);
  ASSERT_EQ(::unlink(At("clone.qcow2").c_str()), 0);
  ASSERT_TRUE(Revert("vm.1.qcow2"));
}

TEST_F(RevertTest, AnOverlayOfAnyNameThatNobodyHasSeenYetCounts) {
  MakeVm(2);
  Create("clone.snap1", 8 * kMiB, "vm.1.qcow2");
  EXPECT_NE(Refused("vm.qcow2").message.find("clone.snap1"), std::string::npos);
  EXPECT_TRUE(Exists("vm.1.qcow2"));
}

// The next file of the name may have the inode number, too, and would be removed.
TEST_F(RevertTest, ANameThatIsYetToBeRemovedIsNotGivenAway) {
  MakeVm(1);
  ASSERT_TRUE(catalog_->records().Write(*Disk("vm"), "chain-vm",
                                        "version=1\nname=vm\nactive=vm.1.qcow2\nformat=qcow2\n"
                                        "origin=vm.qcow2\ndrop=1 vm.2.qcow2\n"));
  Snapshot("vm");
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.3.qcow2", "vm.1.qcow2", "vm.qcow2"}));
}

TEST_F(RevertTest, AnotherProgramsLockCounts) {
  MakeVm(2);
  Command reader({"qemu-io", "-r", "-f", "qcow2", At("vm.1.qcow2")});
  ASSERT_TRUE(reader.WaitForOutput("qemu-io> "));
  EXPECT_NE(Refused("vm.qcow2").message.find("another process uses it"), std::string::npos);
}

// A crash after the record was written: the next daemon goes on.
TEST_F(RevertTest, IsFinishedByTheNextDaemon) {
  MakeVm(2);
  CloseAll();
  struct stat first = {};
  struct stat second = {};
  ASSERT_EQ(::stat(At("vm.1.qcow2").c_str(), &first), 0);
  ASSERT_EQ(::stat(At("vm.2.qcow2").c_str(), &second), 0);
  OpenAll();
  const auto write = [&](ino_t inode_of_second) {
    ASSERT_TRUE(catalog_->records().Write(
        *Disk("vm"), "chain-vm",
        "version=1\nname=vm\nactive=vm.qcow2\nformat=qcow2\norigin=vm.qcow2\ndrop=" +
            std::to_string(inode_of_second) + " vm.2.qcow2\ndrop=" + std::to_string(first.st_ino) +
            " vm.1.qcow2\n"));
  };
  write(second.st_ino);
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("vm"), Words{"vm.qcow2"});
  EXPECT_EQ(First(), 1);
  EXPECT_FALSE(Disk("vm")->read_only());
  EXPECT_FALSE(Exists("vm.1.qcow2"));
  EXPECT_FALSE(Exists("vm.2.qcow2"));
  EXPECT_TRUE(OtherRecords().empty());
}

// Another file of that name is somebody's image.
TEST_F(RevertTest, OnlyTheFileThatWasDroppedIsRemoved) {
  MakeVm(1);
  CloseAll();
  Create("vm.2.qcow2", kMiB);
  OpenAll();
  ASSERT_TRUE(catalog_->records().Write(*Disk("vm"), "chain-vm",
                                        "version=1\nname=vm\nactive=vm.1.qcow2\nformat=qcow2\n"
                                        "origin=vm.qcow2\ndrop=1 vm.2.qcow2\n"));
  CloseAll();
  OpenAll();
  EXPECT_TRUE(Exists("vm.2.qcow2"));
  EXPECT_NE(catalog_->Find("vm.2"), nullptr);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.1.qcow2", "vm.qcow2"}));
}

// What a reader began before the revert it ends with what it read.
TEST_F(RevertTest, AReaderKeepsWhatItHas) {
  MakeVm(1);
  const ChainPtr before = Disk("vm")->chain();
  ASSERT_TRUE(Revert("vm.qcow2"));
  EXPECT_TRUE(Disk("vm")->read_only());
  std::vector<std::byte> data(512);
  std::string note;
  for (const ImageNote& one : catalog_->Notes()) note += one.text;
  EXPECT_NE(note.find("still reads"), std::string::npos) << note;
}

}  // namespace
}  // namespace chainfs::control
