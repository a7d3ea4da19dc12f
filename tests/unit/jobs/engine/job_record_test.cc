// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_record.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

JobRecord Example() {
  JobRecord record;
  record.id = "s-1";
  record.type = "stream";
  record.disk = "vm1";
  record.top = "/images/a=b%0A\nc\r%.qcow2";
  record.base = "/images/base.qcow2";
  record.speed = UINT64_MAX;
  record.on_error = OnError::kEnospc;
  record.pivoting = true;
  record.paused = true;
  record.progress = 7;
  record.remove = RemoveLayers::kAnywhere;
  return record;
}

TEST(JobRecord, ComesBackAsItWas) {
  JobRecord record = Example();
  for (const OnError policy :
       {OnError::kReport, OnError::kIgnore, OnError::kStop, OnError::kEnospc}) {
    record.on_error = policy;
    const auto parsed = ParseJobRecord(FormatJobRecord(record));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, record);
  }
  record.base.reset();
  record.paused = false;
  record.pivoting = false;
  record.speed = 0;
  EXPECT_EQ(ParseJobRecord(FormatJobRecord(record)).value(), record);
}

TEST(JobRecord, OneLineAFact) {
  const std::string text = FormatJobRecord(Example());
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 12);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(JobRecord, EveryTruncationAndMissingLineIsRefused) {
  const std::string text = FormatJobRecord(Example());
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    EXPECT_FALSE(ParseJobRecord(text.substr(0, i))) << i;
  }
}

TEST(JobRecord, NonsenseIsRefused) {
  const std::string good = FormatJobRecord(Example());
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return ParseJobRecord(text);
  };
  EXPECT_EQ(with("version=1", "version=2").error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(with("type=stream", "type=commit").error().kind, ErrorKind::kUnsupported);
  for (const auto& [from, to] : {std::pair{"id=s-1", "id=../x"},
                                 {"speed=1", "speed=-1"},
                                 {"speed=1", "speed=9"},
                                 {"on-error=enospc", "on-error=panic"},
                                 {"phase=pivot", "phase=over"},
                                 {"paused=1", "paused=2"},
                                 {"progress=7", "progress=-7"},
                                 {"disk=vm1", "disk="},
                                 {"disk=vm1", "type=stream"},
                                 {"disk=vm1", "disk"}}) {
    const auto parsed = with(from, to);
    ASSERT_FALSE(parsed) << to;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidFormat) << to;
  }
}

TEST(JobRecord, UnknownKeysAndRemarksAreIgnored) {
  EXPECT_EQ(ParseJobRecord("# by hand\n\nfuture=1\n" + FormatJobRecord(Example())).value(),
            Example());
}

}  // namespace
}  // namespace chainfs::jobs
