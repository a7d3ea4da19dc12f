// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_record.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace chainfs::jobs {
namespace {

JobRecord Example() {
  JobRecord record{.id = "s-1", .type = "stream", .disk = "vm1"};
  record.command.Set("top", "/images/a=b%0A,\n\"c\"\r\xff%.qcow2");
  record.command.Set("base", "/images/base.qcow2");
  record.command.Set("on-error", "enospc");
  record.privileged = true;
  record.parameters = {.speed = UINT64_MAX, .paused = true, .progress = 7};
  record.pivoting = true;
  return record;
}

TEST(JobRecord, ComesBackAsItWas) {
  JobRecord record = Example();
  EXPECT_EQ(ParseJobRecord(FormatJobRecord(record)).value(), record);
  record.command = {};
  record.privileged = false;
  record.parameters = {};
  record.pivoting = false;
  record.group = "0123456789abcdef";
  EXPECT_EQ(ParseJobRecord(FormatJobRecord(record)).value(), record);
}

TEST(JobRecord, OneThatIsUndoneSaysWhy) {
  JobRecord record = Example();
  record.pivoting = false;
  for (const char* reason : {"", "/images/x: \"full\""}) {
    record.undo = reason;
    EXPECT_EQ(ParseJobRecord(FormatJobRecord(record)).value(), record);
  }
  auto json = nlohmann::json::parse(FormatJobRecord(record));
  json["error"] = 1;
  EXPECT_FALSE(ParseJobRecord(json.dump()));
}

// So the catalog finds a path that a record names without reading the rest.
TEST(JobRecord, PathsStandBetweenQuotesWithoutEscapesOfJson) {
  const std::string text = FormatJobRecord(Example());
  EXPECT_NE(text.find("\"/images/base.qcow2\""), std::string::npos) << text;
  EXPECT_NE(text.find("\"/images/a=b%250A,%0A%22c%22%0D%FF%25.qcow2\""), std::string::npos);
  EXPECT_EQ(text.find('\\'), std::string::npos);
}

TEST(JobRecord, EveryTruncationIsRefused) {
  const std::string text = FormatJobRecord(Example());
  for (size_t i = 0; i + 2 < text.size(); ++i) {
    EXPECT_FALSE(ParseJobRecord(text.substr(0, i))) << i;
  }
}

TEST(JobRecord, EveryFieldIsNeededAndOfItsKind) {
  const auto good = nlohmann::json::parse(FormatJobRecord(Example()));
  for (const auto& [key, value] : good.items()) {
    nlohmann::json without = good;
    without.erase(key);
    const auto missing = ParseJobRecord(without.dump());
    ASSERT_FALSE(missing) << key;
    EXPECT_EQ(missing.error().kind, ErrorKind::kInvalidFormat);
    nlohmann::json other = good;
    other[key] = nullptr;
    EXPECT_FALSE(ParseJobRecord(other.dump())) << key;
  }
}

TEST(JobRecord, NonsenseIsRefused) {
  const auto with = [](const std::string& key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(FormatJobRecord(Example()));
    json[key] = value;
    const auto parsed = ParseJobRecord(json.dump());
    EXPECT_FALSE(parsed) << key;
    return parsed ? ErrorKind::kIo : parsed.error().kind;
  };
  EXPECT_EQ(with("version", 3), ErrorKind::kUnsupported);
  EXPECT_EQ(with("id", "../x"), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("disk", ""), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("speed", -1), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("progress", 1.5), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("paused", 1), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("phase", "over"), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("command", "top=x"), ErrorKind::kInvalidFormat);
  EXPECT_EQ(with("command", {{"top", 1}}), ErrorKind::kInvalidFormat);
}

}  // namespace
}  // namespace chainfs::jobs
