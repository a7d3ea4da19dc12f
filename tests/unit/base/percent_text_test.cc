// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/percent_text.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(PercentText, EveryByteComesBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string text = PercentEscape(all);
  EXPECT_EQ(PercentUnescape(text), all);
  for (const char c : text) {
    EXPECT_TRUE(c >= 0x20 && c <= 0x7e && c != '"' && c != '\\') << static_cast<int>(c);
  }
}

TEST(PercentText, PlainPathsStayAsTheyAre) {
  EXPECT_EQ(PercentEscape("/images/a=b, c.qcow2"), "/images/a=b, c.qcow2");
  EXPECT_EQ(PercentEscape("50%\n"), "50%25%0A");
}

TEST(PercentText, WhatIsNoEscapeStays) {
  for (const char* text : {"%", "a%4", "%zz", "%-1x", "%+1"}) {
    EXPECT_EQ(PercentUnescape(text), text);
  }
}

}  // namespace
}  // namespace chainfs
