// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/message_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace chainfs::qmp {
namespace {

using Words = std::vector<std::string>;

// What comes out when `bytes` arrive in blocks of that size; errors with "!" before them.
Words Split(std::string_view bytes, size_t block = SIZE_MAX) {
  MessageSplitter splitter;
  Words items;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, block);
    bytes.remove_prefix(part.size());
    splitter.Feed(part);
    while (const auto item = splitter.Next()) {
      items.push_back(item->error.empty() ? item->message : "!" + std::string(item->error));
    }
  }
  return items;
}

TEST(MessageSplitter, AMessageEndsWithItsOutermostBrace) {
  const std::string bytes = R"({"a":[1,{"b":2}]}{"c":"}"} [1] )";
  const Words expected = {R"({"a":[1,{"b":2}]})", R"({"c":"}"})", "[1]"};
  for (size_t block = 1; block < bytes.size(); ++block) {
    EXPECT_EQ(Split(bytes, block), expected) << block;
  }
}

TEST(MessageSplitter, SingleQuotesBecomeDoubleOnes) {
  EXPECT_EQ(Split(R"({'a':'b"c','d':'e\'f\\','g':"h'\"'"})"),
            Words{R"({"a":"b\"c","d":"e'f\\","g":"h'\"'"})"});
}

TEST(MessageSplitter, WordsAreMessagesOfTheirOwn) {
  EXPECT_EQ(Split("hello 5\n{}nul{}"), (Words{"hello", "5", "{}", "nul", "{}"}));
}

TEST(MessageSplitter, WhatClosesNothingIsReported) {
  EXPECT_EQ(Split("{}}{}"), (Words{"{}", "!JSON parse error, expecting value", "{}"}));
  // Which bracket belongs to which is the parser's business.
  EXPECT_EQ(Split("{]{}"), (Words{"{]", "{}"}));
}

TEST(MessageSplitter, AStrayByteEndsWhatWasBegun) {
  EXPECT_EQ(Split("{\"a\":\xff{}"), (Words{"!JSON parse error, stray byte", "{}"}));
  EXPECT_EQ(Split(std::string_view("\0{}", 3)), (Words{"!JSON parse error, stray byte", "{}"}));
}

TEST(MessageSplitter, AStringDoesNotGoOnInTheNextLine) {
  EXPECT_EQ(Split("{\"a\":\"bro\n{}"), (Words{"!JSON parse error, stray byte", "{}"}));
  EXPECT_EQ(Split("{\"a\":\"\x01\"} {}\n{}"), (Words{"!JSON parse error, stray byte", "{}"}));
}

TEST(MessageSplitter, DepthIsBoundedAndTheNextLineIsHeardAgain) {
  const std::string deepest =
      std::string(MessageSplitter::kMaxDepth, '[') + std::string(MessageSplitter::kMaxDepth, ']');
  EXPECT_EQ(Split(deepest), Words{deepest});
  EXPECT_EQ(Split(std::string(1'000'000, '[') + "{}\n{}"),
            (Words{"!JSON nesting depth limit exceeded", "{}"}));
}

TEST(MessageSplitter, LengthIsBoundedWhereverItIs) {
  const std::string much(MessageSplitter::kMaxMessage, 'a');
  const std::string_view too_long = "!JSON token size limit exceeded";
  EXPECT_EQ(Split("{\"" + much + "\":1}\n{}", 4096), (Words{std::string(too_long), "{}"}));
  EXPECT_EQ(Split(much + "aa\n{}", 4096), (Words{std::string(too_long), "{}"}));
  EXPECT_EQ(Split("['" + std::string(much.size() - 4, '"') + "']\n{}", 1000),
            (Words{std::string(too_long), "{}"}));
  const std::string fits = "[" + std::string(MessageSplitter::kMaxMessage - 2, '1') + "]";
  EXPECT_EQ(Split(fits, 4096), Words{fits});
}

}  // namespace
}  // namespace chainfs::qmp
