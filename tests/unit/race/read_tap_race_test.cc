// SPDX-License-Identifier: Apache-2.0
//
// A read that is just telling a tap, against the removal of the tap and the end of the job that has
// it: what the tap is part of is there until the read has told it.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/chain/read_taps.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs {
namespace {

class LivingTap final : public ReadTap {
 public:
  explicit LivingTap(std::atomic<bool>& gone) : gone_(gone) {}
  ~LivingTap() override { gone_ = true; }
  void AfterRead(GuestOffset, uint64_t) noexcept override { EXPECT_FALSE(gone_); }

 private:
  std::atomic<bool>& gone_;
};

TEST(ReadTapRace, ATapLivesUntilTheReadThatFoundItHasToldIt) {
  ReadTaps taps;
  std::atomic<bool> gone = false;
  std::atomic<bool> removed = false;
  std::thread remover;
  auto tap = std::make_shared<LivingTap>(gone);
  taps.Add(tap);
  int found = 0;
  {
    const SyncPointHook hook("ReadTaps.TellAll.tap-found", [&] {
      if (found++ > 0) return;
      std::atomic<bool> begun = false;
      remover = std::thread([&, tap = std::move(tap)]() mutable {
        begun = true;
        taps.Remove(*tap);
        removed = true;
        tap.reset();
      });
      while (!begun) std::this_thread::yield();
      // It cannot return while this one is here, however long that is.
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      EXPECT_FALSE(removed);
      EXPECT_FALSE(gone);
    });
    taps.Tell(GuestOffset(0), 1);
  }
  remover.join();
  EXPECT_TRUE(gone);
}

}  // namespace

namespace jobs {
namespace {

using ReadTapEndTest = StreamFixture;

// The stream ends, and its work goes, while a guest's read has found its tap.
TEST_F(ReadTapEndTest, AJobEndsOnlyAfterTheReadThatFoundItsTap) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const auto id = jobs_->Start({.type = "stream", .disk = Disk("e"), .paused = true});
  ASSERT_TRUE(id) << id.error().message;
  std::atomic<bool> reader_is_there = false;
  std::atomic<bool> reader_may_go = false;
  std::thread reader;
  {
    const SyncPointHook hook("ReadTaps.TellAll.tap-found", [&] {
      reader_is_there = true;
      while (!reader_may_go) std::this_thread::yield();
    });
    reader = std::thread([&] {
      std::vector<std::byte> out(4096);
      EXPECT_TRUE(Disk("e")->Read(GuestOffset(0), out));
    });
    while (!reader_is_there) std::this_thread::yield();
    ASSERT_TRUE(jobs_->Resume(Disk("e"), *id));
    // It pivots, and then waits for the reader before it gives anything back.
    WaitFor([&] { return ChainOf("e").size() == 1; }, "the pivot");
    EXPECT_NE(jobs_->Find("e", *id)->status, JobStatus::kConcluded);
    EXPECT_EQ(Records().size(), 1u);
    reader_may_go = true;
    reader.join();
  }
  EXPECT_FALSE(WaitEnd("e", *id).error);
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

}  // namespace
}  // namespace jobs
}  // namespace chainfs
