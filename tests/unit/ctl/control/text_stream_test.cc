// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/text_stream.h"

#include <gtest/gtest.h>

#include <memory>

namespace chainfs::control {
namespace {

TEST(TextStream, WholeTextIsReadInPieces) {
  TextStream stream(std::string("hello"));
  EXPECT_EQ(stream.Read(0, 3), "hel");
  EXPECT_EQ(stream.Read(3, 10), "lo");
  EXPECT_EQ(stream.Read(5, 10), "");
  EXPECT_EQ(stream.Read(500, 10), "");
}

TEST(TextStream, PiecesAreMadeWhenTheyAreWanted) {
  auto made = std::make_shared<int>(0);
  TextStream stream([made](std::string* text) -> Result<bool> {
    if (*made == 1000) return false;
    *text += "0123456789";
    ++*made;
    return true;
  });
  EXPECT_EQ(stream.Read(0, 10), "0123456789");
  EXPECT_LE(*made, 2);
  EXPECT_EQ(stream.Read(10, 5), "01234");
  EXPECT_EQ(stream.Read(9995, 50), "56789");
}

TEST(TextStream, WhatWasLetGoIsRefused) {
  TextStream stream([left = 100](std::string* text) mutable -> Result<bool> {
    *text += std::string(1 << 20, 'x');
    return --left > 0;
  });
  for (uint64_t offset = 0; offset < (50u << 20); offset += 1 << 20) {
    ASSERT_TRUE(stream.Read(offset, 1 << 20));
  }
  EXPECT_FALSE(stream.Read(0, 1));
}

TEST(TextStream, AnErrorIsPassedOn) {
  TextStream stream(
      [](std::string*) -> Result<bool> { return Fail(ErrorKind::kCorrupt, "bad table"); });
  EXPECT_EQ(stream.Read(0, 1).error().kind, ErrorKind::kCorrupt);
}

}  // namespace
}  // namespace chainfs::control
