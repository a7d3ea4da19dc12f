// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk_access.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <utility>

#include "blocklayer/base/wake_up.h"

namespace chainfs {
namespace {

class DiskAccessTest : public testing::Test {
 protected:
  DiskAccessTest() {
    wake_up_.Set([this] { ++calls_; });
    access_.SetStopped(false);
  }

  WakeUp wake_up_;
  DiskAccess access_{wake_up_};
  int calls_ = 0;
};

TEST_F(DiskAccessTest, ATicketCountsForAsLongAsItLives) {
  {
    DiskAccess::Ticket writer = access_.CountWriter();
    const DiskAccess::Ticket reader = access_.CountReader();
    DiskAccess::Ticket moved = std::move(writer);
    DiskAccess::Ticket assigned;
    assigned = std::move(moved);
    EXPECT_EQ(access_.writers(), 1u);
    EXPECT_EQ(access_.readers(), 1u);
  }
  EXPECT_EQ(access_.writers(), 0u);
  EXPECT_EQ(access_.readers(), 0u);
}

TEST_F(DiskAccessTest, StopIsRefusedWhileThereIsAWriterWhoseEndWakesUp) {
  std::optional<DiskAccess::Ticket> one = access_.CountWriter();
  std::optional<DiskAccess::Ticket> two = access_.CountWriter();
  EXPECT_FALSE(access_.Stop());
  EXPECT_TRUE(access_.permitted());
  one.reset();
  EXPECT_EQ(calls_, 0);
  two.reset();
  EXPECT_EQ(calls_, 1);
  EXPECT_TRUE(access_.Stop());
  EXPECT_FALSE(access_.permitted());
  // Nobody waits for this one.
  two = access_.CountWriter();
  two.reset();
  EXPECT_EQ(calls_, 1);
}

TEST_F(DiskAccessTest, ReadersKeepNobodyFromStopping) {
  const DiskAccess::Ticket reader = access_.CountReader();
  EXPECT_TRUE(access_.Stop());
}

TEST_F(DiskAccessTest, WhatIsForbiddenStaysSoAndSaysWhy) {
  access_.SetReason("mid is built on it");
  EXPECT_EQ(access_.Reason(), "") << "it is not stopped";
  access_.SetStopped(true);
  EXPECT_EQ(access_.Reason(), "mid is built on it");
  access_.Forbid("a revert failed");
  access_.SetStopped(false);
  EXPECT_FALSE(access_.permitted());
  EXPECT_EQ(access_.Reason(), "a revert failed");
}

// One that has been let in is seen by Stop, or sees what Stop did.
TEST_F(DiskAccessTest, StopAndAWriterNeverMissEachOther) {
  for (int i = 0; i < 2000; ++i) {
    access_.SetStopped(false);
    std::atomic<bool> admitted = false;
    std::optional<DiskAccess::Ticket> ticket;
    std::thread writer([&] {
      ticket = access_.CountWriter();
      admitted = access_.permitted();
    });
    const bool stopped = access_.Stop();
    writer.join();
    EXPECT_FALSE(stopped && admitted);
  }
}

}  // namespace
}  // namespace chainfs
