// SPDX-License-Identifier: Apache-2.0
//
// Records as daemons wrote them before they were JSON.
#include "jobs/engine/old_job_record.h"

#include <gtest/gtest.h>

namespace chainfs::jobs {
namespace {

constexpr std::string_view kOld =
    "version=1\nid=s-1\ntype=stream\ndisk=vm1\ntop=/images/a=b%250A%0Ac%0D%25.qcow2\n"
    "base=/images/base.qcow2\nspeed=18446744073709551615\non-error=enospc\nphase=pivot\n"
    "paused=1\ndelete=anywhere\nprogress=7\n";

TEST(OldJobRecord, IsACommandOfToday) {
  const auto record = ParseJobRecord(kOld);
  ASSERT_TRUE(record) << record.error().message;
  JobRecord expected{.id = "s-1", .type = "stream", .disk = "vm1"};
  expected.command.Set("on-error", "enospc");
  expected.command.Set("top", "/images/a=b%0A\nc\r%.qcow2");
  expected.command.Set("base", "/images/base.qcow2");
  expected.command.Set("delete", "yes");
  expected.privileged = true;
  expected.parameters = {.speed = UINT64_MAX, .paused = true, .progress = 7};
  expected.pivoting = true;
  EXPECT_EQ(*record, expected);
}

TEST(OldJobRecord, OfTheOldestDaemonsToo) {
  const auto record = ParseJobRecord(
      "version=1\nid=s\ntype=stream\ndisk=e\ntop=/i/e.qcow2\nbase=\nspeed=0\n"
      "on-error=report\nphase=copy\npaused=0\nprogress=0\n");
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_FALSE(record->command.Has("base"));
  EXPECT_FALSE(record->command.Has("delete"));
  EXPECT_FALSE(record->privileged);
}

TEST(OldJobRecord, EveryTruncationAndMissingLineIsRefused) {
  // Only "delete" may be missing, and the last line feed.
  for (size_t i = 0; i + 2 < kOld.size(); ++i) {
    EXPECT_FALSE(ParseJobRecord(kOld.substr(0, i))) << i;
  }
}

TEST(OldJobRecord, NonsenseIsRefused) {
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string text(kOld);
    text.replace(text.find(from), from.size(), to);
    return ParseJobRecord(text);
  };
  EXPECT_EQ(with("version=1", "version=3").error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(with("type=stream", "type=commit").error().kind, ErrorKind::kUnsupported);
  for (const auto& [from, to] : {std::pair{"id=s-1", "id=../x"},
                                 {"speed=1", "speed=-1"},
                                 {"speed=1", "speed=9"},
                                 {"on-error=enospc", "on-error=panic"},
                                 {"phase=pivot", "phase=over"},
                                 {"paused=1", "paused=2"},
                                 {"delete=anywhere", "delete=all"},
                                 {"progress=7", "progress=-7"},
                                 {"disk=vm1", "disk="},
                                 {"disk=vm1", "type=stream"},
                                 {"disk=vm1", "disk"}}) {
    const auto parsed = with(from, to);
    ASSERT_FALSE(parsed) << to;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidFormat) << to;
  }
}

TEST(OldJobRecord, UnknownKeysAndRemarksAreIgnored) {
  EXPECT_EQ(ParseJobRecord("# by hand\n\nfuture=1\n" + std::string(kOld)).value(),
            ParseJobRecord(kOld).value());
}

}  // namespace
}  // namespace chainfs::jobs
