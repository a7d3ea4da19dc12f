// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/event_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

namespace chainfs::jobs {
namespace {

constexpr size_t kPlenty = 1 << 20;

std::vector<nlohmann::json> Lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST(EventLog, EventsAreNumberedLinesOfJson) {
  EventLog log;
  uint64_t cursor = log.OldestSequence();
  EXPECT_FALSE(log.HasNews(cursor));
  log.Publish("A", {TextField("disk", "v\n\"1"), NumberField("n", 7), {"flag", "true"}});
  log.Publish("B", {TextField("bad", "\xff")});
  EXPECT_TRUE(log.HasNews(cursor));
  bool too_small = true;
  const auto lines = Lines(log.Read(&cursor, kPlenty, &too_small));
  EXPECT_FALSE(too_small);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["seq"], 1);
  EXPECT_EQ(lines[0]["event"], "A");
  EXPECT_EQ(lines[0]["disk"], "v\n\"1");
  EXPECT_EQ(lines[0]["n"], 7);
  EXPECT_EQ(lines[0]["flag"], true);
  EXPECT_EQ(lines[0]["time"].get<std::string>().size(), 27u);
  EXPECT_EQ(lines[1]["seq"], 2);
  EXPECT_EQ(lines[1]["bad"], "\xef\xbf\xbd");
  EXPECT_FALSE(log.HasNews(cursor));
  EXPECT_EQ(log.Read(&cursor, kPlenty, &too_small), "");
  EXPECT_FALSE(too_small);
}

TEST(EventLog, AReaderThatWasOvertakenIsTold) {
  EventLog log;
  uint64_t cursor = log.OldestSequence();
  constexpr uint64_t kEvents = EventLog::kRetained + 10;
  for (uint64_t i = 0; i < kEvents; ++i) log.Publish("E", {});
  EXPECT_EQ(log.OldestSequence(), 11u);
  bool too_small = false;
  const auto lines = Lines(log.Read(&cursor, kPlenty, &too_small));
  ASSERT_EQ(lines.size(), EventLog::kRetained + 1);
  EXPECT_EQ(lines[0]["event"], "LOST");
  EXPECT_EQ(lines[0]["count"], 10);
  EXPECT_EQ(lines[1]["seq"], 11);
  EXPECT_EQ(lines.back()["seq"], kEvents);
}

TEST(EventLog, ReadsWholeLinesOnly) {
  EventLog log;
  uint64_t cursor = log.OldestSequence();
  log.Publish("ONE", {});
  log.Publish("TWO", {});
  bool too_small = false;
  uint64_t probe = cursor;
  const std::string both = log.Read(&probe, kPlenty, &too_small);
  const size_t first = both.find('\n') + 1;
  EXPECT_EQ(log.Read(&cursor, first - 1, &too_small), "");
  EXPECT_TRUE(too_small);
  EXPECT_EQ(log.Read(&cursor, both.size() - 1, &too_small), both.substr(0, first));
  EXPECT_FALSE(too_small);
  EXPECT_EQ(log.Read(&cursor, both.size() - first, &too_small), both.substr(first));
}

TEST(EventLog, ANoticeOfLossThatDoesNotFitIsNotLost) {
  EventLog log;
  uint64_t cursor = log.OldestSequence();
  for (size_t i = 0; i <= EventLog::kRetained; ++i) log.Publish("E", {});
  bool too_small = false;
  EXPECT_EQ(log.Read(&cursor, 10, &too_small), "");
  EXPECT_TRUE(too_small);
  EXPECT_EQ(Lines(log.Read(&cursor, kPlenty, &too_small))[0]["event"], "LOST");
}

TEST(EventLog, EveryListenerIsToldUntilItIsRemoved) {
  EventLog log;
  int first = 0;
  int second = 0;
  const uint64_t number = log.AddNewsCallback([&] { ++first; });
  log.AddNewsCallback([&] { ++second; });
  log.Publish("E", {});
  log.RemoveNewsCallback(number);
  log.Publish("E", {});
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
}

TEST(EventLog, WhoStartsAtTheNextSequenceSeesWhatComesFromThen) {
  EventLog log;
  log.Publish("OLD", {});
  uint64_t cursor = log.NextSequence();
  EXPECT_FALSE(log.HasNews(cursor));
  log.Publish("NEW", {});
  bool too_small = false;
  EXPECT_EQ(Lines(log.Read(&cursor, kPlenty, &too_small))[0]["event"], "NEW");
}

TEST(EventLog, ConcurrentPublishersAndReaderSeeEveryEventInOrder) {
  EventLog log;
  std::atomic<int> news = 0;
  log.AddNewsCallback([&] { ++news; });
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) log.Publish("E", {});
    });
  }
  uint64_t cursor = 1;
  uint64_t expected = 1;
  bool too_small = false;
  while (expected <= kThreads * kEach) {
    for (const auto& line : Lines(log.Read(&cursor, 4096, &too_small))) {
      EXPECT_EQ(line["seq"], expected++);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(news, kThreads * kEach);
}

}  // namespace
}  // namespace chainfs::jobs
