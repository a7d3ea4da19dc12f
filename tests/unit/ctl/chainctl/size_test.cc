// SPDX-License-Identifier: Apache-2.0
//
// Sizes on the command line: k M G and KiB are powers of 1024, KB MB powers of 1000, and nothing
// that is not wholly understood is taken for a number.
#include "ctl/chainctl/size.h"

#include <gtest/gtest.h>

namespace chainfs::chainctl {
namespace {

TEST(ParseSizeTest, PlainBytes) {
  EXPECT_EQ(ParseTypedSize("0"), 0U);
  EXPECT_EQ(ParseTypedSize("4096"), 4096U);
  EXPECT_EQ(ParseTypedSize("512b"), 512U);
  EXPECT_EQ(ParseTypedSize("512B"), 512U);
}

TEST(ParseSizeTest, LettersAreBinary) {
  EXPECT_EQ(ParseTypedSize("1k"), 1024U);
  EXPECT_EQ(ParseTypedSize("1K"), 1024U);
  EXPECT_EQ(ParseTypedSize("3M"), 3U << 20);
  EXPECT_EQ(ParseTypedSize("10G"), uint64_t{10} << 30);
  EXPECT_EQ(ParseTypedSize("2T"), uint64_t{2} << 40);
  EXPECT_EQ(ParseTypedSize("1KiB"), 1024U);
  EXPECT_EQ(ParseTypedSize("1MiB"), 1U << 20);
  EXPECT_EQ(ParseTypedSize("1gib"), 1U << 30);
}

TEST(ParseSizeTest, TwoLettersWithBAreDecimal) {
  EXPECT_EQ(ParseTypedSize("1KB"), 1000U);
  EXPECT_EQ(ParseTypedSize("5MB"), 5'000'000U);
  EXPECT_EQ(ParseTypedSize("1GB"), 1'000'000'000U);
}

TEST(ParseSizeTest, Fractions) {
  EXPECT_EQ(ParseTypedSize("1.5k"), 1536U);
  EXPECT_EQ(ParseTypedSize("0.5M"), 524288U);
  EXPECT_EQ(ParseTypedSize("1.9"), 1U);
}

TEST(ParseSizeTest, RefusesWhatIsNotASize) {
  for (const char* const text :
       {"", " 1", "1 ", "-1", "+1", "k", "1x", "1kk", "1ki", "1.", "1.k", "0x10", "1e3", "G1",
        "99999999999999999999", "9223372036854775808", "8E", "9000000T", "1kb1"}) {
    const Result<uint64_t> size = ParseTypedSize(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_EQ(size.error().kind, ErrorKind::kInvalidArgument) << text;
  }
}

TEST(ParseSizeTest, LargestSize) {
  EXPECT_EQ(ParseTypedSize("9223372036854775807"), uint64_t{INT64_MAX});
  EXPECT_EQ(ParseTypedSize("7E"), uint64_t{7} << 60);
}

TEST(FormatSizeTest, PicksTheUnit) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1 KiB");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(uint64_t{20} << 30), "20 GiB");
  EXPECT_EQ(FormatSize((uint64_t{1} << 20) - 1), "1 MiB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "16 EiB");
  EXPECT_EQ(FormatRate(180 << 20), "180 MiB/s");
}

TEST(FormatDurationTest, MinutesHoursDays) {
  EXPECT_EQ(FormatDuration(9), "0:09");
  EXPECT_EQ(FormatDuration(61), "1:01");
  EXPECT_EQ(FormatDuration(3723), "1:02:03");
  EXPECT_EQ(FormatDuration(3 * 86400 + 3600), "3d 01:00:00");
}

}  // namespace
}  // namespace chainfs::chainctl
