// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/read_trace.h"

#include <gtest/gtest.h>

#include <string>

namespace chainfs::jobs {
namespace {

constexpr std::string_view kHeader = "chainfs-trace 1\n";

std::string Refusal(const std::string& text) {
  const auto parsed = ParseTrace("/t", text);
  return parsed ? "accepted" : parsed.error().message;
}

TEST(ReadTrace, IsParsedAsItWasWritten) {
  const std::vector<ChunkRange> ranges = {{65536, 65536}, {0, 65536}, {1 << 20, 5}};
  const auto parsed = ParseTrace("/t", FormatTrace("vm1", ranges));
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(*parsed, ranges);
  EXPECT_EQ(ParseTrace("/t", FormatTrace("vm1\n9 9", {})).value(), std::vector<ChunkRange>());
}

TEST(ReadTrace, RangesThatContinueTheOneBeforeAreJoined) {
  const std::vector<ChunkRange> ranges = {{10, 5}, {15, 5}, {20, 1}, {0, 10}, {10, 1}};
  EXPECT_EQ(FormatTrace("vm1", ranges),
            "chainfs-trace 1\n"
            "# what was read of vm1 (offset and length in bytes)\n"
            "10 11\n"
            "0 11\n");
}

TEST(ReadTrace, CommentsAndEmptyLinesCountForNothing) {
  const auto parsed = ParseTrace("/t", std::string(kHeader) + "\n# x\n5 6\n\n7 8");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(*parsed, (std::vector<ChunkRange>{{5, 6}, {7, 8}}));
}

TEST(ReadTrace, WhatIsNoTraceIsRefused) {
  const std::string no_trace = "/t: is no read trace: its first line is not \"chainfs-trace 1\"";
  for (const std::string text : {"", "\n", "chainfs-trace 2\n", "chainfs-trace 1\r\n0 1\n",
                                 "QFI\xfb", " chainfs-trace 1\n", "chainfs-trace 10\n"}) {
    EXPECT_EQ(Refusal(text), no_trace) << text;
  }
  EXPECT_EQ(Refusal(std::string("chainfs-trace 1\0\n", 17)), no_trace);
}

// Nothing of the file is repeated: the giver may not be allowed to read it.
TEST(ReadTrace, ABadLineIsNamedByItsNumber) {
  for (const std::string line :
       {"x", "5", "5 ", " 5 6", "5  6", "5 6 ", "5 6 7", "-1 5", "5 -1", "+5 6", "5\t6", "5 0",
        "0x5 6", "5 6\r", "99999999999999999999 1", "1 99999999999999999999",
        "9223372036854775808 1", "1 9223372036854775808"}) {
    EXPECT_EQ(Refusal(std::string(kHeader) + "1 2\n" + line + "\n3 4\n"),
              "/t: line 3 is not an offset and a length in bytes")
        << line;
  }
}

TEST(ReadTrace, TooManyRangesAreRefused) {
  std::string text(kHeader);
  for (size_t i = 0; i < kMostTraceRanges; ++i) text += "0 1\n";
  EXPECT_EQ(ParseTrace("/t", text).value().size(), kMostTraceRanges);
  EXPECT_EQ(Refusal(text + "0 1\n"), "/t: has more than 65536 ranges; shorten it");
}

}  // namespace
}  // namespace chainfs::jobs
