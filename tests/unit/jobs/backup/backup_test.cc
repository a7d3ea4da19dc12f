// SPDX-License-Identifier: Apache-2.0
//
// Backups by the job manager: what the target has, where the point in time is shown meanwhile, and
// that the disk is one chain again at every end.
#include <filesystem>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

class BackupTest : public StreamFixture {
 protected:
  Result<std::string> Start(const Items& items, const std::string& disk = "vm") {
    verbs::Arguments arguments;
    for (const auto& [key, value] : items) arguments.Set(key, value);
    return jobs_->Start(
        {.type = "backup", .disk = Disk(disk), .arguments = arguments, .privileged = true});
  }
  std::string Started(const Items& items) {
    const Result<std::string> id = Start(items);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  void EndsWell(const std::string& id) {
    const JobInfo info = WaitEnd("vm", id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
  }
  static std::string Fact(const JobInfo& info, const std::string& key) {
    for (const auto& [name, value] : info.facts) {
      if (name == key && std::holds_alternative<std::string>(value)) {
        return std::get<std::string>(value);
      }
    }
    return "";
  }
  // base <- vm, 8 MiB, each with data of its own.
  void MakeTwo() {
    Create("base.qcow2", 8 * kMiB);
    Io("base.qcow2", {"write -P 1 0 2M", "write -P 2 5M 1M"});
    Create("vm.qcow2", 8 * kMiB, "base.qcow2");
    Io("vm.qcow2", {"write -P 3 1M 512k", "write -z 5M 64k"});
  }
  static void Fill(const DiskPtr& disk, uint64_t offset, size_t length, char with) {
    const std::string data(length, with);
    const Status written = disk->Write(GuestOffset(offset), std::as_bytes(std::span(data)));
    ASSERT_TRUE(written) << written.error().message;
  }
  static char Peek(const DiskPtr& disk, uint64_t offset) {
    char byte = '?';
    EXPECT_TRUE(disk->Read(GuestOffset(offset), std::as_writable_bytes(std::span(&byte, 1))));
    return byte;
  }
  // Contents of `target` are those that Remember("vm") has kept.
  void ExpectIsThePoint(const std::string& target) {
    Run({"qemu-img", "compare", "-f", FormatOf(target), "-F", "raw", At(target), At(".vm.qcow2")});
    ExpectSound(target);
  }
  void WaitStatus(const std::string& id, JobStatus status) {
    WaitFor(
        [&] {
          const auto info = jobs_->Find("vm", id);
          return info && info->status == status;
        },
        id + " is " + std::string(JobStatusName(status)));
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }
};

TEST_F(BackupTest, CopiesThePointWhileGuestsWrite) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  for (const Items& items :
       {Items{{"target", "t.qcow2"}}, Items{{"target", "t2.qcow2"}, {"compress", "zstd"}},
        Items{{"target", "t.raw"}}}) {
    const std::string id = Started(items);
    EXPECT_EQ(ChainOf("vm"), (Words{"vm." + id + ".qcow2", "vm.qcow2", "base.qcow2"}));
    DiskPtr view = catalog_->Find("vm@" + id);
    EXPECT_TRUE(view);
    EndsWell(id);
    EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
    EXPECT_FALSE(Exists("vm." + id + ".qcow2"));
    EXPECT_TRUE(Records().empty());
  }
  EXPECT_TRUE(Records("changing-").empty());
  EXPECT_EQ(catalog_->Find("vm@backup-1"), nullptr);
  EXPECT_FALSE(Disk("vm")->read_only());
  CloseAll();
  for (const char* target : {"t.qcow2", "t2.qcow2", "t.raw"}) ExpectIsThePoint(target);
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(BackupTest, TheTargetMayHaveSubclusters) {
  for (const std::string sync : {"full", "top"}) {
    for (const std::string compress : {"none", "zstd"}) {
      SCOPED_TRACE(sync + " " + compress);
      MakeTwo();
      Io("vm.qcow2", {"write -P 4 7M 4k"});
      OpenAll();
      EndsWell(Started(
          {{"target", "t.qcow2"}, {"sync", sync}, {"extended_l2", "on"}, {"compress", compress}}));
      CloseAll();
      const std::string info = Run({"qemu-img", "info", "--output=json", At("t.qcow2")});
      EXPECT_TRUE(info.contains("\"extended-l2\": true")) << info;
      Run({"qemu-img", "compare", At("t.qcow2"), At("vm.qcow2")});
      ExpectSound("t.qcow2");
      Run({"rm", "-rf", At(".chainfs"), At("t.qcow2")});
      if (HasFailure()) return;
    }
  }
}

TEST_F(BackupTest, WhatGuestsWriteMeanwhileIsMergedBack) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  const DiskPtr vm = Disk("vm");
  const std::string id = Started({{"target", "t.qcow2"}, {"then", "hold"}});
  Fill(vm, 3 * kMiB + 100, 300000, 'x');
  ASSERT_TRUE(vm->WriteZeroes(GuestOffset(0), 65536, false));
  WaitStatus(id, JobStatus::kReady);
  EXPECT_TRUE(Exists("t.qcow2"));
  const auto info = jobs_->Find("vm", id);
  EXPECT_EQ(Fact(*info, "frozen"), "vm@" + id);
  EXPECT_EQ(Fact(*info, "stage"), "held");
  DiskPtr view = catalog_->Find("vm@" + id);
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->read_only());
  EXPECT_EQ(Peek(view, 0), 1) << "as it was";
  EXPECT_EQ(Peek(view, 3 * kMiB + 100), 0);
  EXPECT_EQ(Peek(vm, 3 * kMiB + 100), 'x');
  view.reset();
  ASSERT_TRUE(jobs_->Complete(vm, id, {}));
  EndsWell(id);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(Peek(vm, 3 * kMiB + 100), 'x');
  EXPECT_EQ(Peek(vm, 0), 0);
  EXPECT_EQ(Peek(vm, 65536), 1);
  Fill(vm, 4 * kMiB, 512, 'y');
}

TEST_F(BackupTest, CloseAfterGuestsWroteLeavesASoundChain) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  {
    const DiskPtr vm = Disk("vm");
    const std::string id = Started({{"target", "t.qcow2"}});
    Fill(vm, 7 * kMiB, 70000, 'x');
    EndsWell(id);
    EXPECT_EQ(Peek(vm, 7 * kMiB), 'x');
  }
  CloseAll();
  ExpectSound("vm.qcow2");
  ExpectIsThePoint("t.qcow2");
  EXPECT_EQ(ChainOnDisk("vm.qcow2"), (Words{"vm.qcow2", "base.qcow2"}));
}

TEST_F(BackupTest, PartsAreBuiltOnTheLayerBelow) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  EndsWell(Started({{"target", "top.qcow2"}, {"sync", "top"}}));
  EndsWell(Started({{"target", "since.qcow2"}, {"since", "base.qcow2"}}));
  CloseAll();
  for (const char* target : {"top.qcow2", "since.qcow2"}) {
    EXPECT_EQ(ChainOnDisk(target), (Words{target, "base.qcow2"}));
    ExpectIsThePoint(target);
  }
}

TEST_F(BackupTest, AReaderOfThePointDelaysTheEnd) {
  MakeTwo();
  OpenAll();
  const std::string id = Started({{"target", "t.qcow2"}});
  DiskPtr view = catalog_->Find("vm@" + id);
  ASSERT_TRUE(view);
  {
    const DiskAccess::Ticket reader = view->access().CountReader();
    WaitStatus(id, JobStatus::kPaused);
    const auto info = jobs_->Find("vm", id);
    EXPECT_NE(info->error.value_or("").find("vm@" + id + " is open"), std::string::npos)
        << info->error.value_or("none");
    EXPECT_TRUE(Exists("t.qcow2")) << "which is complete";
  }
  view.reset();
  EndsWell(id);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
}

TEST_F(BackupTest, CancelLeavesOneChainAndNoTarget) {
  MakeTwo();
  OpenAll();
  const DiskPtr vm = Disk("vm");
  const std::string id = Started({{"target", "t.qcow2"}, {"speed", "65536"}});
  EXPECT_TRUE(Exists(".t.qcow2." + id + ".part"));
  Fill(vm, 7 * kMiB, 70000, 'x');
  ASSERT_TRUE(jobs_->Cancel(vm, id));
  const JobInfo info = WaitEnd("vm", id);
  EXPECT_TRUE(info.cancelled);
  EXPECT_FALSE(Exists("t.qcow2"));
  EXPECT_FALSE(Exists(".t.qcow2." + id + ".part"));
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(Peek(vm, 7 * kMiB), 'x');
  EXPECT_TRUE(Records().empty());
}

TEST_F(BackupTest, ThePointOutlivesTheDaemon) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  const std::string id = Started({{"target", "t.qcow2"}, {"speed", "65536"}});
  Fill(Disk("vm"), 0, 2 * kMiB, 'x');
  CloseAll();
  EXPECT_TRUE(Exists(".t.qcow2." + id + ".part"));
  OpenAll();
  EXPECT_EQ(Peek(Disk("vm"), 0), 'x');
  EXPECT_EQ(Peek(Disk("vm@" + id), 0), 1);
  jobs_->ResumeRecorded();
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), id, 0));
  EndsWell(id);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(Peek(Disk("vm"), 0), 'x');
  CloseAll();
  ExpectIsThePoint("t.qcow2");
  ExpectSound("vm.qcow2");
}

// A daemon that is killed before the record of the job is there leaves that of its target.
TEST_F(BackupTest, ARecordOfATargetWithoutItsJobGoes) {
  MakeTwo();
  OpenAll();
  const std::string id = Started({{"target", "t.qcow2"}, {"speed", "65536"}});
  CloseAll();
  std::filesystem::copy_file(At(".chainfs/target-" + id), At(".chainfs/target-gone"));
  OpenAll();
  jobs_->ResumeRecorded();
  EXPECT_FALSE(Exists(".chainfs/target-gone"));
  EXPECT_TRUE(Exists(".chainfs/target-" + id));
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), id, 0));
  EndsWell(id);
}

TEST_F(BackupTest, HoldsThePointWithoutATarget) {
  MakeTwo();
  OpenAll();
  const std::string id = Started({{"then", "hold"}});
  WaitStatus(id, JobStatus::kReady);
  Fill(Disk("vm"), 0, 512, 'x');
  EXPECT_EQ(Peek(Disk("vm@" + id), 0), 1);
  ASSERT_TRUE(jobs_->Complete(Disk("vm"), id, {}));
  EndsWell(id);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(Peek(Disk("vm"), 0), 'x');
}

TEST_F(BackupTest, AForeignFileOfTheTargetsNameIsNoBackup) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  const std::string id = Started({{"target", "t.qcow2"}, {"speed", "64k"}, {"id", "nightly"}});
  WaitFor([&] { return jobs_->Find("vm", id)->current_progress > 0; }, "some progress");
  CloseAll();
  // In this order, or the host would give it the same inode number.
  Create("t.qcow2", 8 * kMiB);
  std::filesystem::remove(At(".t.qcow2.nightly.part"));
  OpenAll();
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("vm", id).has_value(); }, "the job again");
  const JobInfo waiting = *jobs_->Find("vm", id);
  EXPECT_EQ(waiting.status, JobStatus::kWaiting);
  EXPECT_NE(waiting.error.value_or("").find("is another file"), std::string::npos)
      << waiting.error.value_or("");
  // Once it is out of the way, the backup is made from its point.
  std::filesystem::rename(At("t.qcow2"), At("foreign"));
  jobs_->RetryRecorded();
  WaitFor([&] { return jobs_->Find("vm", id)->status != JobStatus::kWaiting; }, "the taking up");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), id, 0));
  EndsWell(id);
  EXPECT_TRUE(Records("target-").empty());
  CloseAll();
  ExpectIsThePoint("t.qcow2");
  ExpectAsRemembered("vm.qcow2");
}

// Without its record nobody would merge the overlay back.
TEST_F(BackupTest, OneThatHoldsAPointIsNotDismissedWhileItWaitsForItsDisk) {
  MakeTwo();
  Remember("vm.qcow2");
  OpenAll();
  const std::string id = Started({{"then", "hold"}, {"id", "fleece"}});
  WaitStatus(id, JobStatus::kReady);
  CloseAll();
  {
    auto catalog = Catalog::Open({{.path = At("vm.qcow2"), .name = "other"}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    EventLog events;
    JobManager jobs(**catalog, events, JobTypes(), {.threads = 2});
    jobs.ResumeRecorded();
    ASSERT_EQ(jobs.Jobs("").size(), 1u);
    const Status dismissed = jobs.Dismiss(nullptr, id);
    ASSERT_FALSE(dismissed);
    EXPECT_EQ(dismissed.error().kind, ErrorKind::kBusy);
    EXPECT_NE(dismissed.error().message.find("merged back"), std::string::npos)
        << dismissed.error().message;
    EXPECT_EQ(jobs.Jobs("").size(), 1u) << "it waits on";
    jobs.Shutdown();
  }
  OpenAll();
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("vm", id).has_value(); }, "the job again");
  ASSERT_TRUE(jobs_->Cancel(Disk("vm"), id));
  WaitEnd("vm", id);
  EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(BackupTest, RefusesWhatWouldSpoilIt) {
  MakeTwo();
  OpenAll();
  EXPECT_EQ(Start({{"then", "hold"}}, "base").error().kind, ErrorKind::kReadOnly);
  const std::string id = Started({{"target", "t.qcow2"}, {"speed", "65536"}});
  EXPECT_EQ(Start({{"target", "t2.qcow2"}}).error().kind, ErrorKind::kBusy);
  StreamRequest stream;
  stream.disk = "vm";
  EXPECT_EQ(Refused(stream).kind, ErrorKind::kBusy);
  EXPECT_EQ(catalog_->Snapshot(Disk("vm"), {}).error().kind, ErrorKind::kBusy);
  EXPECT_FALSE(Exists("t2.qcow2"));
  ASSERT_TRUE(jobs_->Cancel(Disk("vm"), id));
  WaitEnd("vm", id);
  EXPECT_EQ(Records(), Words{});
}

TEST_F(BackupTest, ADiskThatIsNotWrittenIsCopiedAsItIs) {
  MakeTwo();
  Remember("base.qcow2");
  OpenAll();
  const Result<std::string> id = Start({{"target", "t.qcow2"}}, "base");
  ASSERT_TRUE(id) << id.error().message;
  const JobInfo info = WaitEnd("base", *id);
  EXPECT_FALSE(info.error) << *info.error;
  EXPECT_EQ(ChainOf("base"), Words{"base.qcow2"});
  CloseAll();
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("t.qcow2"), At(".base.qcow2")});
}

TEST_F(BackupTest, TheDryRunSaysWhatWouldBeCopied) {
  MakeTwo();
  OpenAll();
  const JobInfo info = WaitEnd("vm", Started({{"target", "t.qcow2"}, {"dry-run", "yes"}}));
  EXPECT_FALSE(info.error) << *info.error;
  EXPECT_EQ(info.total_progress, 3 * kMiB - 65536);
  EXPECT_FALSE(Exists(".t.qcow2.backup-1.part"));
  EXPECT_EQ(ChainOf("vm").size(), 2u);
  const JobInfo top =
      WaitEnd("vm", Started({{"target", "t.qcow2"}, {"sync", "top"}, {"dry-run", "yes"}}));
  EXPECT_EQ(top.total_progress, 512 * 1024u);
}

// Before anything is made.
TEST_F(BackupTest, TheTargetIsNotTheOverlay) {
  MakeTwo();
  std::filesystem::create_directory_symlink(".", At("again"));
  OpenAll();
  for (const Items& items :
       {Items{{"target", "x.qcow2"}, {"overlay", "x.qcow2"}},
        Items{{"target", "x.qcow2"}, {"overlay", At("x.qcow2")}},
        Items{{"target", "again/x.qcow2"}, {"overlay", "x.qcow2"}},
        Items{{"target", "x.qcow2"}, {"overlay", "x.qcow2"}, {"dry-run", "yes"}},
        Items{{"target", "vm.b.qcow2"}, {"id", "b"}}}) {
    const Result<std::string> id = Start(items);
    ASSERT_FALSE(id) << items.front().second;
    EXPECT_EQ(id.error().kind, ErrorKind::kInvalidArgument) << id.error().message;
    EXPECT_NE(id.error().message.find("cannot be both"), std::string::npos) << id.error().message;
    EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
    EXPECT_TRUE(Records().empty());
    for (const char* name : {"x.qcow2", "vm.b.qcow2", ".x.qcow2.backup-1.part"}) {
      EXPECT_FALSE(Exists(name)) << name;
    }
  }
  EXPECT_EQ(Start({{"target", "x.qcow2"}, {"overlay", "vm.qcow2"}}).error().kind,
            ErrorKind::kExists);
  EndsWell(Started({{"target", "x.qcow2"}, {"overlay", "o.qcow2"}}));
}

TEST_F(BackupTest, NamesThatAreTooLongAreRefused) {
  MakeTwo();
  OpenAll();
  const std::string fits = std::string(255 - 6, 'x') + ".qcow2";
  for (const std::string& target : {fits, "x" + fits}) {
    const Result<std::string> id = Start({{"target", target}});
    ASSERT_FALSE(id);
    EXPECT_EQ(id.error().kind, ErrorKind::kInvalidArgument) << id.error().message;
    EXPECT_NE(id.error().message.find(" bytes"), std::string::npos) << id.error().message;
    EXPECT_EQ(ChainOf("vm"), (Words{"vm.qcow2", "base.qcow2"}));
    EXPECT_TRUE(Records().empty());
  }
}

}  // namespace
}  // namespace chainfs::jobs
