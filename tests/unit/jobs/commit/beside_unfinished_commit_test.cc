// SPDX-License-Identifier: Apache-2.0
//
// What other operations do about layers that a commit has half written: each leaves the disk whole
// and shown by the next mount, or is refused with everything as it was.
#include <filesystem>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

struct Operation {
  const char* name;
  const char* type;
  const char* disk;
  const char* keys;
  const char* refused;  // a part of the sentence; "": it is right
  const char* active;   // the disk's in the end
};

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << operation.name;
}

class BesideUnfinishedCommitTest : public CommitFixture,
                                   public testing::WithParamInterface<Operation> {
 protected:
  // a <- b <- c <- d <- e, and a part of e, d and c in b.
  void SetUp() override {
    MakeFive();
    Remember("e.qcow2");
    Run({"qemu-img", "convert", "-O", "qcow2", At("d.qcow2"), At("flat.qcow2")});
    OpenAll();
    const std::string id = AcceptedCommit("e", "base=b.qcow2,speed=64k");
    PauseAfterSome("e", id);
    ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
    WaitEnd("e", id);
    // Somebody's image, on what is half written.
    Create("x.qcow2", 8 * kMiB, "c.qcow2");
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_EQ(catalog_->Find("x"), nullptr);
  }
  Result<std::string> StartOne(const Operation& operation) {
    const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), operation.type);
    CHAINFS_ASSIGN(const verbs::Arguments arguments,
                   verbs::Arguments::Parse(operation.keys, verb->keys));
    return jobs_->Start({.type = operation.type,
                         .disk = Disk(operation.disk),
                         .arguments = arguments,
                         .privileged = false});
  }
  void Finish(const Operation& operation, const std::string& id) {
    const bool holds = std::string(operation.keys).find("then=hold") != std::string::npos;
    if (holds) {
      WaitFor([&] { return jobs_->Find("e", id)->status == JobStatus::kReady; }, "ready");
      const Status completed = jobs_->Complete(Disk("e"), id, {});
      ASSERT_TRUE(completed) << completed.error().message;
    }
    const JobInfo info = WaitEnd("e", id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
  Words Files() const {
    Words names;
    for (const auto& file : std::filesystem::recursive_directory_iterator(dir_.path())) {
      names.push_back(file.path());
    }
    std::ranges::sort(names);
    return names;
  }
};

TEST_P(BesideUnfinishedCommitTest, IsRefusedOrLeavesTheDiskWhole) {
  const Operation& operation = GetParam();
  const Words before = Files();
  const Result<std::string> id = StartOne(operation);
  if (*operation.refused != '\0') {
    ASSERT_FALSE(id) << *id << " was accepted";
    EXPECT_EQ(id.error().kind, ErrorKind::kBusy);
    const std::string& message = id.error().message;
    EXPECT_NE(message.find(operation.refused), std::string::npos) << message;
    if (std::string(operation.type) != "commit") {
      EXPECT_NE(message.find("only " + At("e.qcow2")), std::string::npos) << message;
    }
    EXPECT_EQ(Files(), before);
  } else {
    ASSERT_TRUE(id) << id.error().message;
    Finish(operation, *id);
  }
  CloseAll();
  Run({"qemu-img", "compare", "-F", "raw", At(operation.active), At(".e.qcow2")});
  ExpectSound(operation.active);
  OpenAll();
  EXPECT_EQ(ChainOf("e").front(), operation.active);
  EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
}

// The copies of what is refused would have been worth nothing; these are the disk.
TEST_P(BesideUnfinishedCommitTest, WhatIsMadeShowsTheDisk) {
  const Operation& operation = GetParam();
  const std::string keys = operation.keys;
  if (*operation.refused != '\0' || keys.find("target=t.qcow2") == std::string::npos) return;
  const Result<std::string> id = StartOne(operation);
  ASSERT_TRUE(id) << id.error().message;
  Finish(operation, *id);
  CloseAll();
  Run({"qemu-img", "compare", "-F", "raw", At("t.qcow2"), At(".e.qcow2")});
  OpenAll();
  EXPECT_NE(catalog_->Find(keys.find("pivot") == std::string::npos ? "t" : "e"), nullptr);
}

INSTANTIATE_TEST_SUITE_P(
    Each, BesideUnfinishedCommitTest,
    testing::Values(
        Operation{"mirror_top", "mirror", "e", "target=t.qcow2,sync=top,then=pivot",
                  "t.qcow2: cannot be built on", "e.qcow2"},
        Operation{"mirror_top_held", "mirror", "e", "target=t.qcow2,sync=top,then=hold",
                  "finish that commit, or copy everything, with sync=full", "e.qcow2"},
        Operation{"mirror_none", "mirror", "e", "target=t.qcow2,sync=none,then=pivot", "",
                  "t.qcow2"},
        Operation{"mirror_full", "mirror", "e", "target=t.qcow2,sync=full,then=pivot", "",
                  "t.qcow2"},
        Operation{"mirror_existing", "mirror", "e", "target=x.qcow2,existing=yes,then=pivot",
                  "x.qcow2: cannot be a target", "e.qcow2"},
        Operation{"mirror_of_a_mixture", "mirror", "c", "target=t.qcow2,then=keep",
                  "c: cannot be copied: it shows a mixture", "e.qcow2"},
        Operation{"backup_top", "backup", "e", "target=t.qcow2,sync=top",
                  "t.qcow2: cannot be built on", "e.qcow2"},
        Operation{"backup_since_a_mixture", "backup", "e", "target=t.qcow2,since=c.qcow2",
                  "t.qcow2: cannot be built on", "e.qcow2"},
        Operation{"backup_since_below", "backup", "e", "target=t.qcow2,since=a.qcow2", "",
                  "e.qcow2"},
        Operation{"backup_full", "backup", "e", "target=t.qcow2", "", "e.qcow2"},
        Operation{"backup_held", "backup", "e", "target=t.qcow2,then=hold", "", "e.qcow2"},
        Operation{"backup_of_a_mixture", "backup", "d", "target=t.qcow2",
                  "d: cannot be copied: it shows a mixture", "e.qcow2"},
        Operation{"rebase_onto_a_mixture", "rebase", "e", "base=c.qcow2",
                  "nothing new can stand on it", "e.qcow2"},
        Operation{"rebase_away", "rebase", "e", "base=flat.qcow2", "", "e.qcow2"},
        Operation{"stream_into_whole", "stream", "e", "base=c.qcow2", "", "e.qcow2"},
        Operation{"stream_everything", "stream", "e", "", "", "e.qcow2"},
        Operation{"stream_into_a_mixture", "stream", "e", "top=d.qcow2,base=a.qcow2", "",
                  "e.qcow2"},
        Operation{"commit_into_a_mixture", "commit", "e", "top=d.qcow2,base=c.qcow2",
                  "x is built on it", "e.qcow2"}),
    [](const testing::TestParamInfo<Operation>& operation) { return operation.param.name; });

}  // namespace
}  // namespace chainfs::jobs
