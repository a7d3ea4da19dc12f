// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_registry.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "jobs/engine/finished_command.h"
#include "jobs/engine/reservation.h"

namespace chainfs::jobs {
namespace {

ErrorKind KindOf(const Result<Reservation>& refused) {
  EXPECT_FALSE(refused);
  return refused ? ErrorKind::kIo : refused.error().kind;
}

Admission Of(const std::string& disk, const std::string& id = "") {
  return {.disk = disk, .id = id, .type = "toy"};
}

std::shared_ptr<ListedJob> JobOf(const Reservation& reservation) {
  return std::make_shared<FinishedCommand>(reservation.id(), reservation.type(), reservation.disk(),
                                           reservation.sequence());
}

TEST(JobRegistry, AnIdIsTakenFromTheReservationOn) {
  JobRegistry registry;
  {
    const auto held = registry.Reserve(Of("a", "x"));
    ASSERT_TRUE(held);
    EXPECT_EQ(KindOf(registry.Reserve(Of("b", "x"))), ErrorKind::kExists);
    const auto fresh = registry.Reserve(Of("b"));
    ASSERT_TRUE(fresh);
    EXPECT_EQ(fresh->id(), "toy-1");
  }
  EXPECT_TRUE(registry.Reserve(Of("b", "x")));
}

TEST(JobRegistry, AJobOfSeveralDisksIsAmongTheJobsOfEach) {
  JobRegistry registry;
  Admission both = Of("a", "x");
  both.other_disks = {"b"};
  auto held = registry.Reserve(both);
  ASSERT_TRUE(held);
  Admission alone = Of("b");
  alone.alone = true;
  EXPECT_EQ(KindOf(registry.Reserve(alone)), ErrorKind::kBusy);
  alone.disk = "c";
  EXPECT_TRUE(registry.Reserve(alone));
  alone.other_disks = {"a"};
  EXPECT_EQ(KindOf(registry.Reserve(alone)), ErrorKind::kBusy);
  held->Accept(JobOf(*held));
  for (const char* disk : {"a", "b", ""}) {
    ASSERT_EQ(registry.Jobs(disk).size(), 1u) << disk;
    EXPECT_TRUE(registry.ForVerb(disk, "x")) << disk;
  }
  EXPECT_TRUE(registry.Jobs("c").empty());
}

TEST(JobRegistry, AWaitingJobKeepsItsId) {
  JobRegistry registry;
  const RecordStore::Record record{
      .source = "/s",
      .name = "job-toy-1",
      .contents = FormatJobRecord({.id = "toy-1", .type = "toy", .disk = "a"})};
  registry.AddWaiting(record);
  EXPECT_EQ(registry.Reserve(Of("a"))->id(), "toy-2");
  EXPECT_EQ(KindOf(registry.Reserve(Of("a", "toy-1"))), ErrorKind::kExists);
  Admission its_own = Of("a", "toy-1");
  its_own.taken_up = true;
  auto taken_up = registry.Reserve(its_own);
  ASSERT_TRUE(taken_up);
  EXPECT_TRUE(registry.IsWaiting("a", "toy-1"));
  taken_up->Accept(JobOf(*taken_up), &record);
  EXPECT_FALSE(registry.IsWaiting("a", "toy-1"));
  EXPECT_EQ(registry.Jobs("a").size(), 1u);
}

TEST(JobRegistry, ClaimsHoldUntilTheLayersAreReleased) {
  JobRegistry registry;
  Admission fills = Of("a");
  fills.claims =
      LayerClaims{.reads = {}, .fills = {std::make_shared<Layer>()}, .writes = {}, .drops = {}};
  auto held = registry.Reserve(fills);
  ASSERT_TRUE(held);
  EXPECT_EQ(KindOf(registry.Reserve(fills)), ErrorKind::kBusy);
  const uint64_t sequence = held->sequence();
  held->Accept(JobOf(*held));
  EXPECT_EQ(KindOf(registry.Reserve(fills)), ErrorKind::kBusy);
  registry.LayersReleased(sequence);
  EXPECT_TRUE(registry.Reserve(fills));
}

TEST(JobRegistry, AloneIsAloneOnItsDisk) {
  JobRegistry registry;
  Admission alone = Of("a");
  alone.alone = true;
  auto other = registry.Reserve(Of("a"));
  EXPECT_EQ(KindOf(registry.Reserve(alone)), ErrorKind::kBusy);
  const uint64_t sequence = other->sequence();
  other->Accept(JobOf(*other));
  EXPECT_EQ(KindOf(registry.Reserve(alone)), ErrorKind::kBusy);
  // Before it says that it has concluded, so that whoever hears of that is not refused.
  registry.LayersReleased(sequence);
  const auto held = registry.Reserve(alone);
  ASSERT_TRUE(held);
  EXPECT_EQ(KindOf(registry.Reserve(Of("a"))), ErrorKind::kBusy);
  EXPECT_TRUE(registry.Reserve(Of("b")));
}

TEST(JobRegistry, TheQueueIsLimited) {
  JobRegistry registry;
  Admission queues = Of("a");
  queues.queues = true;
  std::vector<Reservation> held;
  for (size_t i = 0; i < JobRegistry::kMaxQueued; ++i) {
    held.push_back(registry.Reserve(queues).value());
  }
  EXPECT_EQ(KindOf(registry.Reserve(queues)), ErrorKind::kBusy);
  EXPECT_TRUE(registry.Reserve(Of("a")));  // takes no place
}

TEST(JobRegistry, TheEndWaitsForReservationsAndAdmitsNothing) {
  JobRegistry registry;
  auto held = std::make_unique<Reservation>(registry.Reserve(Of("a")).value());
  std::atomic<bool> over = false;
  std::thread end([&] {
    EXPECT_TRUE(registry.ShutDown().empty());
    over = true;
  });
  while (registry.Reserve(Of("b"))) std::this_thread::yield();
  EXPECT_EQ(KindOf(registry.Reserve(Of("b"))), ErrorKind::kShutdown);
  EXPECT_FALSE(over);
  held.reset();
  end.join();
}

TEST(JobRegistry, AnUnfinishedJobIsMeantBeforeAFinishedOne) {
  JobRegistry registry;
  EXPECT_EQ(registry.ForVerb("a", "").error().kind, ErrorKind::kNoSuchJob);
  auto held = registry.Reserve(Of("a", "x"));
  const uint64_t sequence = held->sequence();
  held->Accept(JobOf(*held));
  registry.Concluded(sequence);
  EXPECT_EQ((*registry.ForVerb("a", ""))->id(), "x");  // for its refusal
  EXPECT_EQ(registry.ForVerb("a", "y").error().message, "there is no job y on disk a");
  ASSERT_TRUE(registry.Dismiss("a", ""));
  EXPECT_EQ(registry.ForVerb("a", "x").error().kind, ErrorKind::kNoSuchJob);
}

}  // namespace
}  // namespace chainfs::jobs
