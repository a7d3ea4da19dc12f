// SPDX-License-Identifier: Apache-2.0
//
// Q2-13: what would take from internal snapshots what they need is refused, and names them.
#include <gtest/gtest.h>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

class InternalSnapshotsTest : public CommitFixture {
 protected:
  // a <- b <- c <- d, b with a snapshot.
  void SetUp() override {
    Create("a.qcow2", 2 * kMiB);
    std::string below = "a.qcow2";
    for (const char* name : {"b.qcow2", "c.qcow2", "d.qcow2"}) {
      Create(name, 2 * kMiB, below);
      Io(name, {"write -P 7 64k 64k"});
      below = name;
    }
    Run({"qemu-img", "snapshot", "-c", "monday", At("b.qcow2")});
    OpenAll();
  }
  Error RefusedJob(const std::string& type, const std::string& keys) {
    const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), type);
    const auto arguments = verbs::Arguments::Parse(keys, verb->keys);
    EXPECT_TRUE(arguments) << arguments.error().message;
    const Result<std::string> id = jobs_->Start(
        {.type = type, .disk = Disk("d"), .arguments = *arguments, .privileged = true});
    EXPECT_FALSE(id) << *id << " was accepted";
    return id ? Error{} : id.error();
  }
  void ExpectNamed(const Error& error, const std::string& deed) {
    EXPECT_EQ(error.kind, ErrorKind::kUnsupported);
    EXPECT_EQ(error.message,
              At("b.qcow2") + ": " + deed +
                  " would damage its internal snapshot \"monday\"; save what you need of that, "
                  "delete it with qemu-img snapshot -d while the image is not mounted, and try "
                  "again");
  }
};

TEST_F(InternalSnapshotsTest, CommitsAcrossTheirImageAreRefused) {
  ExpectNamed(RefusedCommit("d", "base=a.qcow2"), "a commit");
  ExpectNamed(RefusedCommit("d", "top=b.qcow2,base=a.qcow2"), "a commit");
  ExpectNamed(RefusedCommit("d", "top=c.qcow2,base=a.qcow2"), "a commit");
}

// Its own clusters are copied before they are changed.
TEST_F(InternalSnapshotsTest, CommitsIntoTheirImageKeepThem) {
  Run({"mkdir", "-p", Aside("")});
  Run({"qemu-img", "convert", "-U", "-l", "snapshot.name=monday", "-O", "raw", At("b.qcow2"),
       Aside("before.raw")});
  Commit("d", "top=c.qcow2,base=b.qcow2");
  CloseAll();
  Run({"qemu-img", "convert", "-l", "snapshot.name=monday", "-O", "raw", At("b.qcow2"),
       Aside("after.raw")});
  Run({"cmp", Aside("before.raw"), Aside("after.raw")});
  Run({"qemu-img", "check", "-q", At("b.qcow2")});
}

TEST_F(InternalSnapshotsTest, StreamsAcrossTheirImageAreRefused) {
  ExpectNamed(RefusedJob("stream", ""), "a stream");
  ExpectNamed(RefusedJob("stream", "top=b.qcow2"), "a stream");
  ExpectNamed(RefusedJob("stream", "top=c.qcow2,base=a.qcow2"), "a stream");
}

TEST_F(InternalSnapshotsTest, DisksDoNotMoveAwayFromThem) {
  ExpectNamed(RefusedJob("mirror", "target=" + At("t.qcow2") + ",then=pivot"),
              "moving the disk to its mirror");
}

}  // namespace
}  // namespace chainfs::jobs
