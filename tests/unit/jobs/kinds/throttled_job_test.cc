// SPDX-License-Identifier: Apache-2.0
//
// Jobs that a speed limit holds back: nothing else waits for them, and the daemon ends without
// driving them to their end, whatever they are at. The next daemon goes on with them.
#include "tests/unit/jobs/kinds/every_kind_fixture.h"

namespace chainfs::jobs {
namespace {

class ThrottledJobTest : public EveryKindFixture {
 protected:
  void SetUp() override {
    MakeChainForAll();
    Create("other.qcow2", kMiB);
    OpenAll();
  }
  // Far below what a limit of one byte per second would take.
  template <typename Function>
  static void ExpectSoon(const char* what, const Function& function) {
    const auto start = std::chrono::steady_clock::now();
    function();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30)) << what;
  }
  void OpenAndTakeUp(const std::string& id) {
    OpenAll();
    jobs_->ResumeRecorded();
    WaitFor([&] { return StatusOf(id) != JobStatus::kUndefined; }, id + " again");
  }
};

TEST_P(ThrottledJobTest, NothingElseWaitsForIt) {
  const std::string id = StartSlowly();
  ExpectSoon("a flush", [&] { EXPECT_TRUE(Disk("e")->Flush()); });
  ExpectSoon("a write", [&] {
    const std::vector<std::byte> data(4096, std::byte{0x55});
    EXPECT_TRUE(Disk("e")->Write(GuestOffset(7 * kMiB), data));
  });
  ExpectSoon("another disk's snapshot", [&] { Snapshot("other"); });
  ExpectSoon("a look at the sources", [&] { EXPECT_TRUE(catalog_->Rescan()); });
  EXPECT_EQ(StatusOf(id), JobStatus::kRunning) << "none of that has driven it on";
  ExpectSoon("cancel", [&] {
    ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
    EXPECT_TRUE(WaitEnd("e", id).cancelled);
  });
}

TEST_P(ThrottledJobTest, TheDaemonEndsInTheMiddleOfIt) {
  const std::string id = StartSlowly();
  ExpectSoon("the end", [&] { CloseAll(); });
  // The chain is what it was, or has the temporary layer of a point in time on it.
  EXPECT_EQ(Exists("e." + id + ".qcow2"), std::string(GetParam().name) == "backup");
  ExpectAsRemembered("e.qcow2");
  EXPECT_EQ(ChainOnDisk("e.qcow2").size(), 5u);
  OpenAndTakeUp(id);
  EXPECT_NE(StatusOf(id), JobStatus::kConcluded);
  Finish(id);
  EXPECT_TRUE(Records().empty());
  CloseAll();
  ExpectDone();
}

TEST_P(ThrottledJobTest, TheDaemonEndsWhileItIsPaused) {
  const std::string id = StartSlowly();
  ASSERT_TRUE(jobs_->Pause(Disk("e"), id));
  WaitFor([&] { return StatusOf(id) == JobStatus::kPaused; }, "a pause");
  ExpectSoon("the end", [&] { CloseAll(); });
  OpenAndTakeUp(id);
  WaitFor([&] { return StatusOf(id) == JobStatus::kPaused; }, "a pause in the next daemon");
  ASSERT_TRUE(jobs_->Resume(Disk("e"), id));
  Finish(id);
  CloseAll();
  ExpectDone();
}

TEST_P(ThrottledJobTest, TheDaemonEndsWhileItIsReady) {
  if (!GetParam().gets_ready) return;
  const Result<std::string> id = StartOne();
  ASSERT_TRUE(id) << id.error().message;
  WaitReady(*id);
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), *id, 1));
  ExpectSoon("the end", [&] { CloseAll(); });
  OpenAndTakeUp(*id);
  Finish(*id);
  CloseAll();
  ExpectDone();
}

INSTANTIATE_TEST_SUITE_P(Jobs, ThrottledJobTest, testing::ValuesIn(EveryKindOfJob()), NameOfKind);

}  // namespace
}  // namespace chainfs::jobs
