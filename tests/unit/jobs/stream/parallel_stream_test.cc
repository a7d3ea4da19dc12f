// SPDX-License-Identifier: Apache-2.0
//
// Several jobs on one chain: streams that touch only at their bases go on together, whatever would
// spoil another's layers is refused, and the chain has the shape that all of them were asked for.
#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

class ParallelStreamTest : public CommitFixture {
 protected:
  // l0 <- l1 <- ... <- l8, each with something of its own and something of another's.
  void MakeNine() {
    for (int n = 0; n < 9; ++n) {
      const std::string file = Name(n);
      Create(file, 9 * kMiB, n == 0 ? "" : Name(n - 1));
      Io(file,
         {"write -P " + std::to_string(n + 1) + " " + std::to_string(n) + "M 1M",
          "write -P " + std::to_string(n + 17) + " " + std::to_string(4500 + n * 200) + "k 300k"});
    }
  }
  static std::string Name(int n) { return "l" + std::to_string(n) + ".qcow2"; }
  std::string StreamOf(int top, int base, uint64_t speed) {
    return Accepted({.disk = "l8", .top = Name(top), .base = Name(base), .speed = speed});
  }
  void ExpectRefused(const Result<std::string>& started, const std::string& what,
                     const std::string& running) {
    ASSERT_FALSE(started) << what << " was accepted";
    EXPECT_EQ(started.error().kind, ErrorKind::kBusy) << what << ": " << started.error().message;
    EXPECT_NE(started.error().message.find(running), std::string::npos)
        << "does not name who is in the way: " << started.error().message;
  }
  void ExpectStreamRefused(int top, int base, const std::string& running) {
    ExpectRefused(
        StartStream(*jobs_, *catalog_, {.disk = "l8", .top = Name(top), .base = Name(base)}),
        "a stream from " + Name(base) + " to " + Name(top), running);
  }
  void ExpectCommitRefused(int top, int base, const std::string& running) {
    ExpectRefused(StartCommit("l8", "top=" + Name(top) + ",base=" + Name(base)),
                  "a commit of " + Name(top) + " into " + Name(base), running);
  }
  void Finish(const std::string& id) {
    ASSERT_TRUE(jobs_->SetSpeed(Disk("l8"), id, 0));
    const JobInfo info = WaitEnd("l8", id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
};

TEST_F(ParallelStreamTest, FourOfOneChainAtOnce) {
  MakeNine();
  Remember("l8.qcow2");
  OpenAll();
  Words ids;
  for (const int top : {2, 4, 6, 8}) ids.push_back(StreamOf(top, top - 2, 1));
  for (const std::string& id : ids) {
    EXPECT_NE(jobs_->Find("l8", id)->status, JobStatus::kConcluded) << id;
  }
  // Those in the middle end first, so that each pivots between two others.
  for (const size_t one : {1u, 2u, 0u, 3u}) Finish(ids[one]);
  const Words shape = {"l8.qcow2", "l6.qcow2", "l4.qcow2", "l2.qcow2", "l0.qcow2"};
  EXPECT_EQ(ChainOf("l8"), shape);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("l8.qcow2"), shape);
  ExpectAsRemembered("l8.qcow2");
}

TEST_F(ParallelStreamTest, WhatTouchesAnothersLayersIsRefused) {
  MakeNine();
  Remember("l8.qcow2");
  OpenAll();
  // It fills l5 and leaves l3 and l4 out.
  const std::string id = StreamOf(5, 2, 1);
  ExpectStreamRefused(5, 1, id);
  ExpectStreamRefused(4, 1, id);
  ExpectStreamRefused(4, 3, id);
  ExpectStreamRefused(6, 4, id);
  ExpectStreamRefused(8, 1, id);
  ExpectCommitRefused(4, 3, id);
  ExpectCommitRefused(5, 4, id);
  ExpectCommitRefused(6, 5, id);
  ExpectCommitRefused(3, 2, id);
  ExpectCommitRefused(2, 1, id);
  ExpectCommitRefused(8, 5, id);
  ExpectCommitRefused(8, 0, id);
  EXPECT_EQ(jobs_->Jobs("l8").size(), 1u);
  // What ends at its top, and what begins at its base, goes on beside it.
  const std::string above = StreamOf(7, 5, 1);
  const std::string below = StreamOf(2, 0, 1);
  Finish(id);
  Finish(above);
  Finish(below);
  const Words shape = {"l8.qcow2", "l7.qcow2", "l5.qcow2", "l2.qcow2", "l0.qcow2"};
  EXPECT_EQ(ChainOf("l8"), shape);
  CloseAll();
  ExpectAsRemembered("l8.qcow2");
}

TEST_F(ParallelStreamTest, BesideACommitNothingTouchesItsLayers) {
  MakeNine();
  Remember("l8.qcow2");
  OpenAll();
  // It writes l4, leaves l5 and l6 out, and changes the header of l7.
  const std::string id = AcceptedCommit("l8", "top=l6.qcow2,base=l4.qcow2,speed=1");
  ExpectStreamRefused(7, 6, id);
  ExpectStreamRefused(6, 5, id);
  ExpectStreamRefused(5, 3, id);
  ExpectStreamRefused(4, 2, id);
  ExpectCommitRefused(6, 5, id);
  ExpectCommitRefused(5, 4, id);
  ExpectCommitRefused(4, 3, id);
  ExpectCommitRefused(8, 7, id);
  // Layers that it only reads may be merged meanwhile.
  const std::string below = StreamOf(3, 1, 0);
  EXPECT_FALSE(WaitEnd("l8", below).error.has_value());
  Finish(id);
  const Words shape = {"l8.qcow2", "l7.qcow2", "l4.qcow2", "l3.qcow2", "l1.qcow2", "l0.qcow2"};
  EXPECT_EQ(ChainOf("l8"), shape);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("l8.qcow2"), shape);
  ExpectAsRemembered("l8.qcow2");
}

// The base of one is merged away by another that ends first.
TEST_F(ParallelStreamTest, TheBaseOfOneIsTheTopOfAnother) {
  MakeNine();
  Remember("l8.qcow2");
  OpenAll();
  const std::string upper = StreamOf(8, 4, 1);
  const std::string lower = StreamOf(4, 0, 0);
  EXPECT_FALSE(WaitEnd("l8", lower).error.has_value());
  EXPECT_EQ(ChainOf("l8"),
            (Words{"l8.qcow2", "l7.qcow2", "l6.qcow2", "l5.qcow2", "l4.qcow2", "l0.qcow2"}));
  Finish(upper);
  EXPECT_EQ(ChainOf("l8"), (Words{"l8.qcow2", "l4.qcow2", "l0.qcow2"}));
  CloseAll();
  ExpectAsRemembered("l8.qcow2");
}

}  // namespace
}  // namespace chainfs::jobs
