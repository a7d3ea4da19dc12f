// SPDX-License-Identifier: Apache-2.0
//
// What the manager accepts and refuses, what it remembers, and how jobs outlive it.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "blocklayer/io/posix.h"
#include "jobs/stream/space_check.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class ManagerTest : public StreamFixture {
 protected:
  // A stream that does not end by itself: it may copy a byte a second.
  std::string Endless(const std::string& disk, const std::string& id = "") {
    return Accepted({.disk = disk, .id = id, .speed = 1});
  }
  // The next daemon finds the record of a job of the disk e, but not the disk.
  void ReopenWithoutE() {
    CloseAll();
    ASSERT_EQ(::rename(At("e.qcow2").c_str(), At("e.away").c_str()), 0);
    OpenAll();
    jobs_->ResumeRecorded();
  }
  void BringBackE() {
    ASSERT_EQ(::rename(At("e.away").c_str(), At("e.qcow2").c_str()), 0);
    ASSERT_TRUE(catalog_->Rescan());
    jobs_->RetryRecorded();
  }
};

TEST_F(ManagerTest, WhatMakesNoSenseIsRefusedWithTheReason) {
  MakeFive();
  Create("raw.raw", kMiB);
  OpenAll();
  EXPECT_EQ(Refused({.disk = "nobody"}).kind, ErrorKind::kNotFound);
  EXPECT_EQ(Refused({.disk = "e", .id = "1x"}).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused({.disk = "e", .base = "z.qcow2"}).kind, ErrorKind::kNotFound);
  EXPECT_EQ(Refused({.disk = "e", .base = "e.qcow2"}).kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused({.disk = "e", .top = "b.qcow2", .base = "c.qcow2"}).kind,
            ErrorKind::kInvalidArgument);
  const Error raw = Refused({.disk = "raw"});
  EXPECT_EQ(raw.kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(raw.message.find("raw images have no backing file"), std::string::npos);
  EXPECT_EQ(Refused({.disk = "e", .generation = 999}).kind, ErrorKind::kStale);
  EXPECT_TRUE(jobs_->Jobs("").empty());
  EXPECT_TRUE(Records().empty());
  EXPECT_TRUE(Events().empty());
}

TEST_F(ManagerTest, AReadOnlyMountRefuses) {
  MakeFive();
  OpenAll({.read_only = true});
  EXPECT_EQ(Refused({.disk = "e"}).kind, ErrorKind::kReadOnly);
}

TEST_F(ManagerTest, TwoJobsThatWouldSpoilEachOthersLayersAreNotBothAccepted) {
  MakeFive();
  OpenAll();
  const std::string id = Accepted({.disk = "e", .top = "d.qcow2", .base = "b.qcow2", .speed = 1});
  for (const StreamRequest& request : std::vector<StreamRequest>{
           {.disk = "e"},                                       // leaves out d
           {.disk = "d"},                                       // fills d
           {.disk = "e", .top = "c.qcow2", .base = "a.qcow2"},  // fills c, which is left out
           {.disk = "c"},                                       // the same, by another disk
           {.disk = "e", .base = "c.qcow2"}}) {                 // its base would go
    const Error error = Refused(request);
    EXPECT_EQ(error.kind, ErrorKind::kBusy);
    EXPECT_NE(error.message.find(id), std::string::npos) << error.message;
  }
  const std::string other = Accepted({.disk = "b", .speed = 1});
  ASSERT_TRUE(jobs_->Cancel(Disk("b"), other));
  WaitEnd("b", other);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  EXPECT_TRUE(WaitEnd("e", id).cancelled);
  Stream({.disk = "e"});
}

TEST_F(ManagerTest, TheLayersAreFreeWhenTheEndIsAnnounced) {
  MakeFive();
  OpenAll();
  for (int i = 0; i < 50; ++i) {
    const std::string id = Accepted({.disk = "e", .base = "d.qcow2"});
    const auto told = [&] {
      const auto events = Events("BLOCK_JOB_COMPLETED");
      return !events.empty() && events.back()["id"] == id;
    };
    while (!told()) std::this_thread::yield();
  }
}

TEST_F(ManagerTest, IdsAreUniqueUntilDismissed) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e", .id = "mine", .base = "d.qcow2"});
  EXPECT_EQ(Refused({.disk = "e", .id = "mine", .base = "d.qcow2"}).kind, ErrorKind::kExists);
  EXPECT_EQ(Refused({.disk = "d", .id = "mine", .base = "c.qcow2"}).kind, ErrorKind::kExists);
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), "mine"));
  EXPECT_FALSE(jobs_->Find("e", "mine").has_value());
  Stream({.disk = "e", .id = "mine", .base = "d.qcow2"});
}

TEST_F(ManagerTest, VerbsMeanTheNewestJobUnlessOneIsNamed) {
  MakeFive();
  OpenAll();
  const Status nothing = jobs_->Cancel(Disk("e"), "");
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().kind, ErrorKind::kNoSuchJob);
  Stream({.disk = "e", .base = "d.qcow2"});
  const std::string id = Endless("e");
  // Dismiss, the newest that has finished.
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), ""));
  EXPECT_EQ(jobs_->Jobs("e").size(), 1u);
  const Status early = jobs_->Dismiss(Disk("e"), "");
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(early.error().message.find("has not finished yet"), std::string::npos);
  EXPECT_EQ(jobs_->Pause(Disk("d"), id).error().kind, ErrorKind::kNoSuchJob);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), ""));
  EXPECT_TRUE(WaitEnd("e", id).cancelled);
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), id));
  EXPECT_TRUE(jobs_->Jobs("e").empty());
}

TEST_F(ManagerTest, ACancelledStreamLeavesTheChainAndNoRecord) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = Endless("e");
  EXPECT_EQ(Records(), Words{"job-" + id});
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  EXPECT_EQ(WaitEnd("e", id).error, "cancelled");
  EXPECT_TRUE(Records().empty());
  EXPECT_EQ(ChainOf("e").size(), 5u);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2").size(), 5u);
  ExpectAsRemembered("e.qcow2");
}

TEST_F(ManagerTest, TheLast32ConcludedJobsOfADiskAreRemembered) {
  MakeFive();
  OpenAll();
  const std::string alive = Accepted({.disk = "c", .id = "alive", .base = "a.qcow2", .speed = 1});
  Stream({.disk = "a"});
  for (int i = 0; i < 40; ++i) Stream({.disk = "e", .base = "d.qcow2"});
  WaitFor([&] { return jobs_->Jobs("e").size() == 32; }, "a history of 32");
  EXPECT_EQ(jobs_->Jobs("a").size(), 1u);
  const std::vector<JobInfo> all = jobs_->Jobs("");
  EXPECT_EQ(all.size(), 34u);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_GT(all[i - 1].sequence, all[i].sequence);
  EXPECT_EQ(all.back().id, alive);
}

TEST_F(ManagerTest, SixteenRunSixtyFourWaitTheRestIsRefused) {
  Create("base.qcow2", 4 * kMiB);
  Io("base.qcow2", {"write -P 1 0 4M"});
  Create("clone.qcow2", 4 * kMiB, "base.qcow2");
  for (int i = 0; i < 81; ++i) {
    Run({"cp", At("clone.qcow2"), At("c" + std::to_string(i) + ".qcow2")});
  }
  OpenAll();
  for (int i = 0; i < 80; ++i) Endless("c" + std::to_string(i), "j" + std::to_string(i));
  const Error full = Refused({.disk = "c80"});
  EXPECT_EQ(full.kind, ErrorKind::kBusy);
  EXPECT_EQ(jobs_->Find("c15", "j15")->status, JobStatus::kRunning);
  EXPECT_EQ(jobs_->Find("c16", "j16")->status, JobStatus::kCreated);
  ASSERT_TRUE(jobs_->Cancel(Disk("c16"), ""));
  ASSERT_TRUE(jobs_->Cancel(Disk("c0"), ""));
  WaitEnd("c16", "j16");
  WaitFor([&] { return jobs_->Find("c17", "j17")->status == JobStatus::kRunning; },
          "the next in the queue");
  EXPECT_EQ(jobs_->Find("c18", "j18")->status, JobStatus::kCreated);
}

TEST_F(ManagerTest, ADryRunCountsWhatWouldBeCopiedAndChangesNothing) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 4M", "write -z 4M 1M"});
  Create("b.qcow2", 8 * kMiB, "a.qcow2");
  Io("b.qcow2", {"write -P 2 6M 1M", "write -z 0 1M"});
  Create("c.qcow2", 8 * kMiB, "b.qcow2");
  Io("c.qcow2", {"write -P 3 2M 1M"});
  OpenAll();
  StreamRequest request{.disk = "c", .dry_run = true};
  JobInfo info = WaitEnd("c", Accepted(request));
  EXPECT_FALSE(info.error.has_value());
  EXPECT_EQ(info.total_progress, 3 * kMiB);  // 1M..2M, 3M..4M, 6M..7M
  request.base = "a.qcow2";
  info = WaitEnd("c", Accepted(request));
  EXPECT_EQ(info.total_progress, 1 * kMiB);
  EXPECT_EQ(ChainOf("c").size(), 3u);
  EXPECT_TRUE(Records().empty());
  EXPECT_TRUE(Events("CHAIN_CHANGE").empty());
}

TEST_F(ManagerTest, AStreamIsTakenUpAgainAfterAShutdown) {
  for (const bool with_base : {false, true}) {
    MakeFive();
    Remember("e.qcow2");
    OpenAll();
    StreamRequest request{.disk = "e", .id = "s", .speed = 256 << 10};
    if (with_base) request.base = "a.qcow2";
    Accepted(request);
    WaitFor([&] { return jobs_->Find("e", "s")->current_progress > 0; }, "progress");
    ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 1));
    jobs_->Shutdown();
    EXPECT_EQ(StartStream(*jobs_, *catalog_, {.disk = "e"}).error().kind, ErrorKind::kShutdown);
    EXPECT_EQ(jobs_->Cancel(Disk("e"), "s").error().kind, ErrorKind::kShutdown);
    EXPECT_EQ(Records(), Words{"job-s"});
    EXPECT_TRUE(Events("BLOCK_JOB_CANCELLED").empty());
    CloseAll();
    EXPECT_EQ(ChainOnDisk("e.qcow2").size(), 5u);
    ExpectAsRemembered("e.qcow2");
    OpenAll();
    EXPECT_TRUE(jobs_->Jobs("").empty());
    jobs_->ResumeRecorded();
    ASSERT_TRUE(jobs_->Find("e", "s").has_value());
    EXPECT_EQ(jobs_->Find("e", "s")->speed, 1u);
    ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
    EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
    EXPECT_TRUE(Records().empty());
    CloseAll();
    EXPECT_EQ(ChainOnDisk("e.qcow2").size(), with_base ? 2u : 1u);
    ExpectAsRemembered("e.qcow2");
  }
}

// Neither a layer of the same file name nor a new active layer changes what a command meant.
TEST_F(ManagerTest, ATakenUpJobMeansTheLayersThatItsCommandMeant) {
  MakeFive();
  Remember("e.qcow2");
  ASSERT_EQ(mkdir(At("sub").c_str(), 0755), 0);
  OpenAll();
  Accepted({.disk = "e", .id = "s", .base = "b.qcow2", .speed = 1});
  Snapshot("e", {.target = At("sub/b.qcow2"), .anywhere = true});
  EXPECT_EQ(ChainOf("e"),
            (Words{"b.qcow2", "e.qcow2", "d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"}));
  EXPECT_EQ(Refused({.disk = "e", .base = "b.qcow2"}).kind, ErrorKind::kNotFound) << "which one?";
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
  EXPECT_EQ(ChainOf("e"), (Words{"b.qcow2", "e.qcow2", "b.qcow2", "a.qcow2"}));
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

TEST_F(ManagerTest, APausedJobComesBackPaused) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  ASSERT_TRUE(jobs_->Pause(Disk("e"), "s"));
  WaitFor([&] { return jobs_->Find("e", "s")->status == JobStatus::kPaused; }, "paused");
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("e", "s")->status == JobStatus::kPaused; }, "paused again");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  ASSERT_TRUE(jobs_->Resume(Disk("e"), "s"));
  EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
}

// The daemon died between the change of the header and the removal of the record.
TEST_F(ManagerTest, AnEndThatWasAlmostReachedIsReached) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  const auto records = catalog_->records().ReadAll("job-");
  ASSERT_TRUE(records);
  std::string contents = records->at(0).contents;
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), "s"));
  WaitEnd("e", "s");
  Stream({.disk = "e"});
  contents.replace(contents.find("copy"), 4, "pivot");
  ASSERT_TRUE(catalog_->records().Write(*Disk("e"), "job-s", contents));
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
  EXPECT_TRUE(Records().empty());
  EXPECT_EQ(ChainOf("e"), Words{"e.qcow2"});
}

// What a daemon left that wrote a line per fact.
TEST_F(ManagerTest, ARecordOfAnOlderDaemonIsTakenUp) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  ASSERT_TRUE(catalog_->records().Write(
      *Disk("e"), "job-s",
      "version=1\nid=s\ntype=stream\ndisk=e\ntop=" + At("d.qcow2") + "\nbase=" + At("a.qcow2") +
          "\nspeed=1\non-error=stop\nphase=copy\npaused=0\ndelete=sources\nprogress=4096\n"));
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  const auto job = jobs_->Find("e", "s");
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->type, "stream");
  EXPECT_EQ(job->speed, 1u);
  EXPECT_GE(job->current_progress, 4096u);
  // From now on it is a record of today.
  const auto records = catalog_->records().ReadAll("job-");
  ASSERT_TRUE(records && records->size() == 1);
  EXPECT_EQ(records->front().contents.front(), '{');
  EXPECT_TRUE(ParseJobRecord(records->front().contents));
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  const JobInfo info = WaitEnd("e", "s");
  EXPECT_FALSE(info.error.has_value()) << *info.error;
  EXPECT_EQ(info.removed, (Words{At("c.qcow2"), At("b.qcow2")}));
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "d.qcow2", "a.qcow2"}));
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

// They were for whoever gave the command; the chain may have moved by the job's own work.
TEST_F(ManagerTest, ARecordThatNamesAGenerationOrADryRunIsTakenUpAllTheSame) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  std::string contents = catalog_->records().ReadAll("job-")->at(0).contents;
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), "s"));
  WaitEnd("e", "s");
  const std::string top = "\"top\": \"";
  contents.replace(contents.find(top), 0, "\"generation\": \"77\", \"dry-run\": \"yes\", ");
  ASSERT_TRUE(catalog_->records().Write(*Disk("e"), "job-s", contents));
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  ASSERT_EQ(jobs_->Find("e", "s")->error, std::nullopt);
  EXPECT_FALSE(jobs_->Find("e", "s")->dry_run);
  EXPECT_EQ(Refused({.disk = "e"}).kind, ErrorKind::kBusy) << "it claims its layers";
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
  EXPECT_EQ(ChainOf("e"), Words{"e.qcow2"});
}

TEST_F(ManagerTest, RecordsThatMakeNoSenseAreLeftAlone) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  const std::string good = catalog_->records().ReadAll("job-")->at(0).contents;
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), "s"));
  WaitEnd("e", "s");
  const auto write = [&](const std::string& name, const std::string& from, const std::string& to) {
    std::string contents = good;
    contents.replace(contents.find(from), from.size(), to);
    ASSERT_TRUE(catalog_->records().Write(*Disk("e"), name, contents));
  };
  write("job-x", "\"version\"", "nonsense");
  write("job-y", "\"id\": \"s\"", "\"id\": \"z\"");
  write("job-z", "\"disk\": \"e\"", "\"disk\": \"gone\"");
  write("job-s", "\"top\": \"", "\"top\": \"/elsewhere");
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  EXPECT_EQ(Records().size(), 4u);
  // Each is shown with its reason, keeps its id, and can be removed by it.
  EXPECT_EQ(jobs_->Jobs("").size(), 4u);
  for (const std::string id : {"x", "y", "z", "s"}) {
    const auto waiting = jobs_->Find("", id);
    ASSERT_TRUE(waiting.has_value()) << id;
    EXPECT_EQ(waiting->status, JobStatus::kWaiting);
    EXPECT_TRUE(waiting->error.has_value());
    EXPECT_EQ(Refused({.disk = "e", .id = id}).kind, ErrorKind::kExists);
    ASSERT_TRUE(jobs_->Cancel(nullptr, id));
  }
  EXPECT_TRUE(jobs_->Jobs("").empty());
  EXPECT_TRUE(Records().empty());
}

// Its disk was busy when the daemon started.
TEST_F(ManagerTest, ARecordedStreamWaitsForItsDiskAndKeepsItsId) {
  MakeFive();
  Remember("e.qcow2");
  Create("other.qcow2", kMiB, "a.qcow2");
  OpenAll();
  const std::string id = Endless("e");
  ASSERT_NO_FATAL_FAILURE(ReopenWithoutE());
  const auto waiting = jobs_->Find("e", id);
  ASSERT_TRUE(waiting.has_value());
  EXPECT_EQ(waiting->status, JobStatus::kWaiting);
  EXPECT_NE(waiting->error.value_or("").find("no disk e"), std::string::npos) << *waiting->error;
  const std::string other = Accepted({.disk = "other", .speed = 1});
  EXPECT_NE(other, id);
  EXPECT_EQ(Records().size(), 2u);
  ASSERT_NO_FATAL_FAILURE(BringBackE());
  WaitFor([&] { return jobs_->Find("e", id)->status == JobStatus::kRunning; }, "taken up");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), id, 0));
  EXPECT_FALSE(WaitEnd("e", id).error.has_value());
  EXPECT_EQ(Records(), Words{"job-" + other});
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

// However many at once want to take it up, one does.
TEST_F(ManagerTest, AWaitingJobIsTakenUpOnce) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  ASSERT_NO_FATAL_FAILURE(ReopenWithoutE());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) jobs_->RetryRecorded();
    });
  }
  ASSERT_NO_FATAL_FAILURE(BringBackE());
  for (std::thread& thread : threads) thread.join();
  WaitFor([&] { return jobs_->Find("e", "s")->status == JobStatus::kRunning; }, "taken up");
  EXPECT_EQ(jobs_->Jobs("").size(), 1u);
}

// Another job's record is never written over: one that is not trusted, or another daemon's.
TEST_F(ManagerTest, ARecordThatIsThereIsNotReplaced) {
  MakeFive();
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  const auto place = [&](const std::string& name) {
    std::ofstream(At(".chainfs/" + name)) << "foreign";
    ASSERT_EQ(::chmod(At(".chainfs/" + name).c_str(), 0666), 0);
  };
  place("job-stream-1");
  place("job-mine");
  OpenAll();
  jobs_->ResumeRecorded();
  EXPECT_EQ(Endless("e"), "stream-2");
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), "stream-2"));
  WaitEnd("e", "stream-2");
  EXPECT_EQ(Refused({.disk = "e", .id = "mine"}).kind, ErrorKind::kExists);
  for (const std::string name : {"job-stream-1", "job-mine"}) {
    std::ifstream file(At(".chainfs/" + name));
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "foreign");
  }
}

TEST_F(ManagerTest, ADryRunIsNoWorkThatWasDone) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e", .id = "real", .base = "d.qcow2"});
  const std::string running = Endless("e");
  const size_t completed = Events("BLOCK_JOB_COMPLETED").size();
  std::string last;
  for (int i = 0; i < 40; ++i) {
    last = Accepted({.disk = "e", .dry_run = true});
    const JobInfo info = WaitEnd("e", last);
    EXPECT_TRUE(info.dry_run);
    EXPECT_EQ(nlohmann::json::parse(JobToJson(info))["dry-run"], true);
  }
  EXPECT_EQ(Events("BLOCK_JOB_COMPLETED").size(), completed);
  EXPECT_TRUE(jobs_->Find("e", "real").has_value());
  EXPECT_EQ(jobs_->Find("e", "")->id, last);
  // They do not stand between a command and the stream that runs.
  ASSERT_TRUE(jobs_->Pause(Disk("e"), ""));
  WaitFor([&] { return jobs_->Find("e", running)->status == JobStatus::kPaused; }, "paused");
  ASSERT_TRUE(jobs_->Cancel(nullptr, ""));
  EXPECT_TRUE(WaitEnd("e", running).cancelled);
}

TEST_F(ManagerTest, LackOfSpaceIsForeseen) {
  MakeFive();
  OpenAll();
  EXPECT_FALSE(SpaceWarning("/x", 10, 10).has_value());
  const auto warning = SpaceWarning("/x", 3 * kMiB, kMiB);
  ASSERT_TRUE(warning.has_value());
  EXPECT_NE(warning->find("3.0 MiB"), std::string::npos) << *warning;
  EXPECT_NE(warning->find("1.0 MiB free"), std::string::npos) << *warning;
}

// What the layer that is filled has already is not copied.
TEST_F(ManagerTest, LackOfSpaceIsForeseenByWhatIsStillToBeCopied) {
  MakeFive();
  OpenAll();
  const auto plan = PlanStream(*catalog_, *Disk("e"), std::nullopt, std::nullopt);
  ASSERT_TRUE(plan);
  const uint64_t before = SpaceNeeded(*plan).value_or(0);
  EXPECT_GT(before, 5 * kMiB);
  EXPECT_LT(before, 8 * kMiB);
  const std::vector<std::byte> data(8 * kMiB, std::byte{1});
  ASSERT_TRUE(Disk("e")->Write(GuestOffset(0), data));
  EXPECT_EQ(SpaceNeeded(*plan), 0u);
}

// It copies nothing, so neither a limit nor an error may keep it from its end.
TEST_F(ManagerTest, ADryRunTakesNoSpeedAndDoesNotPause) {
  MakeFive();
  OpenAll();
  const std::string id =
      Accepted({.disk = "e", .speed = 1, .on_error = OnError::kStop, .dry_run = true});
  const JobInfo info = WaitEnd("e", id);
  EXPECT_FALSE(info.error.has_value());
  EXPECT_GT(info.total_progress, 0u);
}

// An empty record is the claim of somebody who is just starting a job, or died then.
TEST_F(ManagerTest, OnlyDeadClaimsAreRemoved) {
  MakeFive();
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  const timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  for (const std::string name : {"job-young", "job-locked", "job-dead"}) {
    std::ofstream(At(".chainfs/" + name)).flush();
    ASSERT_EQ(::chmod(At(".chainfs/" + name).c_str(), 0600), 0);
    if (name == "job-young") continue;
    ASSERT_EQ(::utimensat(AT_FDCWD, At(".chainfs/" + name).c_str(), old, 0), 0);
  }
  {
    const auto directory = OpenPosixDirectory(At(".chainfs"));
    ASSERT_TRUE(directory);
    const auto other = (*directory)->Open("job-locked", OpenMode::kReadOnly);
    ASSERT_TRUE(other && (*other)->SetImageLocks(kActiveLayerLocks));
    OpenAll();
    jobs_->ResumeRecorded();
    EXPECT_EQ(Records(), (Words{"job-locked", "job-young"}));
    EXPECT_TRUE(jobs_->Jobs("").empty());
    CloseAll();
  }
  OpenAll();
  jobs_->ResumeRecorded();
  EXPECT_EQ(Records(), Words{"job-young"});
}

TEST_F(ManagerTest, ARecordThatWasNeverFinishedGoes) {
  MakeFive();
  ASSERT_EQ(::mkdir(At(".chainfs").c_str(), 0700), 0);
  const timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  for (const std::string name : {".job-young.tmp", ".job-dead.tmp", ".other"}) {
    std::ofstream(At(".chainfs/" + name)) << "half";
  }
  for (const std::string name : {".job-dead.tmp", ".other"}) {
    ASSERT_EQ(::utimensat(AT_FDCWD, At(".chainfs/" + name).c_str(), old, 0), 0);
  }
  OpenAll({.read_only = true});
  CloseAll();
  EXPECT_TRUE(std::filesystem::exists(At(".chainfs/.job-dead.tmp")));
  OpenAll();
  EXPECT_FALSE(std::filesystem::exists(At(".chainfs/.job-dead.tmp")));
  EXPECT_TRUE(std::filesystem::exists(At(".chainfs/.job-young.tmp")));
  EXPECT_TRUE(std::filesystem::exists(At(".chainfs/.other")));
}

TEST_F(ManagerTest, AVerbOnADiskMeansNoJobOfAnotherThatTookItsName) {
  MakeFive();
  Create("raw.raw", kMiB);
  OpenAll();
  const DiskPtr before = Disk("raw");
  ASSERT_EQ(::rename(At("raw.raw").c_str(), At("raw.away").c_str()), 0);
  EXPECT_EQ(jobs_->Cancel(before, "").error().kind, ErrorKind::kNoSuchJob);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(jobs_->Cancel(before, "").error().kind, ErrorKind::kNoSuchJob) << "by its name still";
  Create("raw.raw", 2 * kMiB);
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_NE(Disk("raw"), before);
  EXPECT_EQ(jobs_->Cancel(before, "").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(jobs_->Cancel(Disk("raw"), "").error().kind, ErrorKind::kNoSuchJob);
}

// Removing it fails in the middle of somebody else's try: it is tried again, not forgotten.
TEST_F(ManagerTest, AWaitingJobIsNeverLeftInHand) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  ASSERT_NO_FATAL_FAILURE(ReopenWithoutE());
  const std::string store = At(".chainfs");
  for (int i = 0; i < 20; ++i) {
    // What is not trusted cannot be removed.
    ASSERT_EQ(::chmod(store.c_str(), 0777), 0);
    std::thread other([&] { jobs_->RetryRecorded(); });
    EXPECT_FALSE(jobs_->Cancel(nullptr, "s"));
    other.join();
    ASSERT_EQ(::chmod(store.c_str(), 0700), 0);
  }
  ASSERT_NO_FATAL_FAILURE(BringBackE());
  WaitFor([&] { return jobs_->Find("e", "s")->status == JobStatus::kRunning; }, "taken up");
}

// The end waits for whoever tries one, and nothing is taken up after it.
TEST_F(ManagerTest, TheEndAndATryToTakeUpAgree) {
  MakeFive();
  OpenAll();
  Endless("e", "s");
  CloseAll();
  for (int i = 0; i < 20; ++i) {
    OpenAll();
    std::thread starts([&] { jobs_->ResumeRecorded(); });
    std::thread retries([&] {
      for (int n = 0; n < 20; ++n) jobs_->RetryRecorded();
    });
    std::this_thread::sleep_for(std::chrono::microseconds(i * 300));
    jobs_->Shutdown();
    EXPECT_EQ(Records(), Words{"job-s"});
    starts.join();
    retries.join();
    CloseAll();
  }
  OpenAll();
  jobs_->ResumeRecorded();
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  EXPECT_FALSE(WaitEnd("e", "s").error.has_value());
}

TEST_F(ManagerTest, AShortCommandIsAdmittedLikeAJob) {
  MakeFive();
  OpenAll();
  {
    const auto held = jobs_->ReserveDisk(*Disk("e"), "snapshot", "s1", false);
    ASSERT_TRUE(held);
    EXPECT_EQ(jobs_->ReserveDisk(*Disk("d"), "snapshot", "s1", false).error().kind,
              ErrorKind::kExists);
    EXPECT_EQ(Refused({.disk = "e", .id = "s1"}).kind, ErrorKind::kExists);
    EXPECT_EQ(jobs_->ReserveDisk(*Disk("e"), "revert", "", true).error().kind, ErrorKind::kBusy);
    EXPECT_TRUE(jobs_->Jobs("").empty());
  }
  EXPECT_EQ(jobs_->ReserveDisk(*Disk("e"), "snapshot", "1x", false).error().kind,
            ErrorKind::kInvalidArgument);
  {
    const auto alone = jobs_->ReserveDisk(*Disk("e"), "revert", "", true);
    ASSERT_TRUE(alone);
    EXPECT_EQ(Refused({.disk = "e"}).kind, ErrorKind::kBusy);
    const std::string other = Endless("d");
    ASSERT_TRUE(jobs_->Cancel(Disk("d"), other));
    WaitEnd("d", other);
  }
  EXPECT_TRUE(jobs_->Jobs("e").empty());
}

TEST_F(ManagerTest, AShortCommandIsShownAsAConcludedJob) {
  MakeFive();
  OpenAll();
  auto held = jobs_->ReserveDisk(*Disk("e"), "snapshot", "s1", false);
  ASSERT_TRUE(held);
  jobs_->ShowConcluded(*std::move(held));
  const auto job = jobs_->Find("e", "s1");
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->type, "snapshot");
  EXPECT_EQ(job->status, JobStatus::kConcluded);
  EXPECT_EQ(job->total_progress, 0u);
  Words story;
  for (const auto& event : Events()) {
    EXPECT_EQ(event["id"], "s1");
    EXPECT_EQ(event["disk"], "e");
    story.push_back(event["event"] == "JOB_STATUS_CHANGE" ? event["status"] : event["event"]);
  }
  EXPECT_EQ(story, (Words{"created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED",
                          "concluded"}));
  for (const Status& refused : {jobs_->Cancel(Disk("e"), "s1"), jobs_->Pause(Disk("e"), "s1"),
                                jobs_->Resume(Disk("e"), "s1"), jobs_->SetSpeed(Disk("e"), "s1", 1),
                                jobs_->Complete(Disk("e"), "s1", {})}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "s1 has already finished");
  }
  EXPECT_EQ(Refused({.disk = "e", .id = "s1"}).kind, ErrorKind::kExists);
  ASSERT_TRUE(jobs_->Dismiss(Disk("e"), "s1"));
  EXPECT_TRUE(jobs_->Jobs("").empty());
}

TEST_F(ManagerTest, LiveBlockCopy) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  Snapshot("e", {.target = "copy.qcow2"});
  Stream({.disk = "e"});
  EXPECT_EQ(ChainOf("e"), Words{"copy.qcow2"});
  CloseAll();
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("copy.qcow2"), At(".e.qcow2")});
  ExpectSound("copy.qcow2");
}

}  // namespace
}  // namespace chainfs::jobs
