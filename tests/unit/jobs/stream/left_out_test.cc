// SPDX-License-Identifier: Apache-2.0
//
// What becomes of the layers that a stream leaves out: who still needs them, that they are not
// written by anybody by themselves, and their removal.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class LeftOutTest : public StreamFixture {
 protected:
  // But those of names.
  Words OtherRecords() const {
    Words names = Records("");
    std::erase_if(names, [](const std::string& name) { return name.starts_with("name-"); });
    return names;
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }
  Words Paths(const Words& names) const {
    Words paths;
    for (const std::string& name : names) paths.push_back(At(name));
    return paths;
  }
  LayerReport ReportOf(const std::string& name) const {
    for (LayerReport& report : catalog_->LayersReport()) {
      if (report.path == At(name)) return report;
    }
    ADD_FAILURE() << name << " is not reported";
    return {};
  }
  std::string NoteOf(const std::string& disk) const {
    std::string all;
    for (const ImageNote& note : catalog_->Notes()) {
      if (note.name == disk) all += note.text + "\n";
    }
    return all;
  }
  JobInfo Removing(StreamRequest request) {
    if (request.remove == RemoveLayers::kNo) request.remove = RemoveLayers::kInSources;
    const JobInfo info = WaitEnd(request.disk, Accepted(request));
    EXPECT_FALSE(info.error.has_value()) << *info.error;
    return info;
  }
};

TEST_F(LeftOutTest, EachLayerTellsWhoNeedsIt) {
  MakeFive();
  OpenAll();
  const LayerReport b = ReportOf("b.qcow2");
  EXPECT_EQ(b.built_on_by, Words{At("c.qcow2")});
  EXPECT_TRUE(b.needed);
  EXPECT_GT(b.actual_size, 0u);
  EXPECT_NE(b.reason.find("is built on it"), std::string::npos) << b.reason;
  EXPECT_EQ(ReportOf("e.qcow2").reason, "active layer of e");
  EXPECT_EQ(catalog_->LayersReport().size(), 5u);
}

TEST_F(LeftOutTest, AStreamSaysWhatNobodyNeedsAndItIsNotWritten) {
  MakeFive();
  OpenAll();
  const JobInfo info = WaitEnd("e", Accepted({.disk = "e", .base = "b.qcow2"}));
  EXPECT_EQ(info.unneeded, Paths({"d.qcow2", "c.qcow2"}));
  EXPECT_TRUE(info.removed.empty());
  EXPECT_EQ(nlohmann::json::parse(JobToJson(info))["unneeded"].size(), 2u);
  const auto expect_kept = [&] {
    EXPECT_TRUE(Disk("d")->read_only());
    EXPECT_NE(NoteOf("d").find("a stream has merged it into " + At("e.qcow2")), std::string::npos)
        << NoteOf("d");
    EXPECT_FALSE(ReportOf("d.qcow2").needed);
    EXPECT_TRUE(ReportOf("c.qcow2").needed);  // as long as d is there
    EXPECT_TRUE(ReportOf("b.qcow2").needed);
  };
  expect_kept();
  CloseAll();
  OpenAll();
  expect_kept();
  // Until somebody says so.
  ASSERT_TRUE(catalog_->AllowWriting(Disk("d")));
  EXPECT_FALSE(Disk("d")->read_only());
  EXPECT_TRUE(ReportOf("d.qcow2").needed);
  EXPECT_FALSE(catalog_->AllowWriting(Disk("e")));
  CloseAll();
  OpenAll();
  EXPECT_FALSE(Disk("d")->read_only());
  CloseAll();
  for (const std::string name : {"a", "b", "c", "d", "e"}) ExpectSound(name + ".qcow2");
}

// Then it may be the last that has its contents.
TEST_F(LeftOutTest, WhatIsMergedIntoAFileThatIsGoneIsNeeded) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e", .base = "c.qcow2"});
  EXPECT_FALSE(ReportOf("d.qcow2").needed);
  // The first one holds it now, whatever is removed in between.
  Snapshot("e");
  ASSERT_EQ(Removing({.disk = "e", .base = "c.qcow2"}).removed, Words{At("e.qcow2")});
  EXPECT_EQ(ReportOf("d.qcow2").reason, "merged into " + At("e.1.qcow2"));
  CloseAll();
  OpenAll();
  EXPECT_EQ(ReportOf("d.qcow2").reason, "merged into " + At("e.1.qcow2"));
  ASSERT_EQ(::rename(At("e.1.qcow2").c_str(), At("elsewhere").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(ReportOf("d.qcow2").needed);
  EXPECT_NE(ReportOf("d.qcow2").reason.find("is gone"), std::string::npos);
  EXPECT_NE(NoteOf("d").find("is gone"), std::string::npos) << NoteOf("d");
}

TEST_F(LeftOutTest, ASourceOfItsOwnIsWritable) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e"});
  CloseAll();
  auto catalog = Catalog::Open({{.path = At("d.qcow2")}, {.path = dir_.path()}}, {});
  ASSERT_TRUE(catalog) << catalog.error().message;
  EXPECT_FALSE((*catalog)->Find("d")->read_only());
}

// The mark is of a file, not of a name.
TEST_F(LeftOutTest, ANewFileOfTheNameIsAnImageLikeAnyOther) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e"});
  EXPECT_EQ(Records("merged-").size(), 4u);
  CloseAll();
  Create("new.qcow2", kMiB);
  ASSERT_EQ(::rename(At("new.qcow2").c_str(), At("d.qcow2").c_str()), 0);
  OpenAll();
  EXPECT_FALSE(Disk("d")->read_only()) << NoteOf("d");
  EXPECT_EQ(Records("merged-").size(), 3u);
}

// qemu-img writes it into the old file.
TEST_F(LeftOutTest, ANewImageInTheOldFileIsAnImageLikeAnyOther) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e", .base = "b.qcow2"});
  CloseAll();
  struct stat before = {};
  ASSERT_EQ(::stat(At("d.qcow2").c_str(), &before), 0);
  OpenAll();
  EXPECT_TRUE(Disk("d")->read_only());
  CloseAll();
  // As it was, but for its times.
  Run({"touch", At("d.qcow2")});
  OpenAll();
  EXPECT_TRUE(Disk("d")->read_only());
  CloseAll();
  Create("c.qcow2", 4 * kMiB);
  Create("d.qcow2", 8 * kMiB, "a.qcow2");
  struct stat after = {};
  ASSERT_EQ(::stat(At("d.qcow2").c_str(), &after), 0);
  ASSERT_EQ(before.st_ino, after.st_ino);
  OpenAll();
  EXPECT_FALSE(Disk("d")->read_only()) << Disk("d")->ReadOnlyReason();
  EXPECT_EQ(Disk("c")->ReadOnlyReason().find("merged"), std::string::npos);
  EXPECT_EQ(Records("merged-"), Words());
}

TEST_F(LeftOutTest, DeleteRemovesWhatNobodyNeeds) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const JobInfo info = Removing({.disk = "e", .base = "b.qcow2"});
  EXPECT_EQ(info.removed, Paths({"d.qcow2", "c.qcow2"}));
  EXPECT_TRUE(info.unneeded.empty());
  EXPECT_FALSE(Exists("d.qcow2"));
  EXPECT_FALSE(Exists("c.qcow2"));
  EXPECT_TRUE(Exists("b.qcow2"));
  EXPECT_EQ(catalog_->Find("d"), nullptr);
  EXPECT_TRUE(OtherRecords().empty());
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

TEST_F(LeftOutTest, WhatOthersAreBuiltOnStays) {
  MakeFive();
  Create("clone.qcow2", 8 * kMiB, "c.qcow2");
  Remember("clone.qcow2");
  OpenAll();
  // Somebody builds on it behind our back, and nobody has looked since.
  const JobInfo info = Removing({.disk = "e"});
  EXPECT_EQ(info.removed, Paths({"d.qcow2"}));
  EXPECT_TRUE(Exists("c.qcow2"));
  EXPECT_TRUE(Exists("a.qcow2"));
  CloseAll();
  ExpectAsRemembered("clone.qcow2");
}

TEST_F(LeftOutTest, AnOverlayThatNobodyHasSeenYetCounts) {
  MakeFive();
  OpenAll();
  Create("late.qcow2", 8 * kMiB, "d.qcow2");
  const JobInfo info = Removing({.disk = "e"});
  EXPECT_TRUE(info.removed.empty());
  EXPECT_TRUE(info.unneeded.empty());
  EXPECT_TRUE(Exists("d.qcow2"));
  CloseAll();
  ExpectSound("late.qcow2");
}

// An image that is a source of its own: nobody looks at what lies beside it, until something goes.
TEST_F(LeftOutTest, AnOverlayThatIsNotInViewCounts) {
  MakeFive();
  Create("other.qcow2", 8 * kMiB, "c.qcow2");
  Remember("other.qcow2");
  auto catalog = Catalog::Open({{.path = At("e.qcow2")}}, {});
  ASSERT_TRUE(catalog) << catalog.error().message;
  catalog_ = *std::move(catalog);
  events_ = std::make_unique<EventLog>();
  jobs_ = std::make_unique<JobManager>(*catalog_, *events_, JobTypes(),
                                       JobManagerOptions{.threads = 4});
  const JobInfo told = WaitEnd("e", Accepted({.disk = "e", .dry_run = true}));
  EXPECT_EQ(told.unneeded, Paths({"d.qcow2"}));
  const JobInfo info = Removing({.disk = "e"});
  EXPECT_EQ(info.removed, Paths({"d.qcow2"}));
  EXPECT_TRUE(Exists("c.qcow2"));
  EXPECT_TRUE(Exists("a.qcow2"));
  CloseAll();
  ExpectAsRemembered("other.qcow2");
}

// As when a revert of another disk has dropped what is being filled.
TEST_F(LeftOutTest, NothingIsMergedIntoAFileThatIsGone) {
  MakeFive();
  OpenAll();
  const Layers layers = Disk("e")->chain()->AllLayers();
  ASSERT_EQ(::unlink(At("e.qcow2").c_str()), 0);
  const Status marked = catalog_->MarkLeftOut(*Disk("e"), *layers[0], {layers[1]});
  ASSERT_FALSE(marked);
  EXPECT_EQ(marked.error().kind, ErrorKind::kStale);
  EXPECT_TRUE(Records("merged-").empty());
}

// A loop device, or what somebody has built outside of view on the disk of a layer.
TEST_F(LeftOutTest, AnOpenDiskCounts) {
  MakeFive();
  OpenAll();
  std::optional<DiskAccess::Ticket> ticket = Disk("d")->access().CountReader();
  EXPECT_TRUE(Removing({.disk = "e"}).removed.empty());
  EXPECT_TRUE(Exists("d.qcow2"));
  EXPECT_EQ(ReportOf("d.qcow2").reason, "its disk is open");
  ticket.reset();
  EXPECT_FALSE(ReportOf("d.qcow2").needed);
}

TEST_F(LeftOutTest, AnotherProgramsLockCounts) {
  MakeFive();
  OpenAll();
  Command reader({"qemu-io", "-r", "-f", "qcow2", At("d.qcow2")});
  ASSERT_TRUE(reader.WaitForOutput("qemu-io> "));
  const JobInfo info = Removing({.disk = "e"});
  EXPECT_TRUE(info.removed.empty());
  EXPECT_TRUE(Exists("d.qcow2"));
}

TEST_F(LeftOutTest, WhatARecordNamesStays) {
  JobRecord record{.id = "other", .type = "stream", .disk = "e"};
  record.command.Set("base", At("c.qcow2"));
  // The record of a job that waits, by the path as a value.
  for (const std::string& text : {"base=" + At("c.qcow2") + "\n", FormatJobRecord(record)}) {
    MakeFive();
    OpenAll();
    ASSERT_TRUE(catalog_->records().Write(*Disk("e"), "job-other", text));
    const JobInfo info = Removing({.disk = "e"});
    EXPECT_EQ(info.removed, Paths({"d.qcow2"}));
    EXPECT_TRUE(Exists("c.qcow2"));
    CloseAll();
  }
}

// A name that leads to another file by now, and a link, are not removed for it.
TEST_F(LeftOutTest, OnlyTheFileThatWasMergedIsRemoved) {
  MakeFive();
  ASSERT_EQ(::rename(At("c.qcow2").c_str(), At("c.real").c_str()), 0);
  ASSERT_EQ(::symlink("c.real", At("c.qcow2").c_str()), 0);
  OpenAll();
  const JobInfo info = Removing({.disk = "e", .base = "b.qcow2"});
  EXPECT_EQ(info.removed, Paths({"d.qcow2"}));
  EXPECT_EQ(info.unneeded, Paths({"c.qcow2"}));
  EXPECT_NE(info.warning.value_or("").find("not removed"), std::string::npos);
  EXPECT_TRUE(Exists("c.real"));
  EXPECT_TRUE(Exists("c.qcow2"));
}

TEST_F(LeftOutTest, OutsideTheSourcesOnlyRootRemoves) {
  const TempDir other;
  const auto make = [&](const std::string& top) {
    Run({"qemu-img", "create", "-q", "-f", "qcow2", other / "base.qcow2", "1M"});
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-b", other / "base.qcow2", "-F", "qcow2",
         At(top)});
  };
  make("one.qcow2");
  CatalogOptions options;
  options.backing_dirs = {other.path()};
  OpenAll(options);
  JobInfo info = Removing({.disk = "one"});
  EXPECT_EQ(info.unneeded, Words{other / "base.qcow2"});
  EXPECT_NE(info.warning.value_or("").find("outside the source directories"), std::string::npos);
  CloseAll();
  make("two.qcow2");
  OpenAll(options);
  info = Removing({.disk = "two", .remove = RemoveLayers::kAnywhere});
  EXPECT_EQ(info.removed, Words{other / "base.qcow2"});
}

TEST_F(LeftOutTest, ADryRunSaysWhatWouldBeRemoved) {
  MakeFive();
  OpenAll();
  const std::string id = Accepted(
      {.disk = "e", .base = "b.qcow2", .remove = RemoveLayers::kInSources, .dry_run = true});
  const JobInfo info = WaitEnd("e", id);
  EXPECT_EQ(info.unneeded, Paths({"d.qcow2", "c.qcow2"}));
  EXPECT_TRUE(Exists("d.qcow2"));
  EXPECT_TRUE(OtherRecords().empty());
}

// Snapshots and their merging: the usual way to come by such layers.
TEST_F(LeftOutTest, SnapshotsOfAChainThatIsMergedAgain) {
  Create("vm.qcow2", 8 * kMiB);
  Io("vm.qcow2", {"write -P 7 1M 1M"});
  Remember("vm.qcow2");
  OpenAll();
  Snapshot("vm");
  Snapshot("vm");
  const JobInfo info = Removing({.disk = "vm"});
  EXPECT_EQ(info.removed, Paths({"vm.1.qcow2", "vm.qcow2"}));
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("vm"), Words{"vm.2.qcow2"});
  EXPECT_FALSE(Disk("vm")->read_only());
  CloseAll();
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("vm.2.qcow2"), At(".vm.qcow2")});
}

// A job that another daemon takes up still does what it was told.
TEST_F(LeftOutTest, DeleteOutlivesTheDaemon) {
  MakeFive();
  OpenAll();
  Accepted({.disk = "e", .id = "s", .speed = 1, .remove = RemoveLayers::kInSources});
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), "s", 0));
  EXPECT_EQ(WaitEnd("e", "s").removed.size(), 4u);
  EXPECT_FALSE(Exists("a.qcow2"));
}

}  // namespace
}  // namespace chainfs::jobs
