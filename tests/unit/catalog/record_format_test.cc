// SPDX-License-Identifier: Apache-2.0
//
// The text of records: JSON that holds any bytes, and the lines of earlier versions.
#include "blocklayer/catalog/record_format.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

// "key=value" of each field.
std::vector<std::string> FieldsOf(std::string_view text) {
  const Result<RecordFields> read = ParseRecord(text);
  if (!read) return {read.error().message};
  std::vector<std::string> fields;
  for (const RecordField& field : *read) fields.push_back(field.key + "=" + field.value);
  return fields;
}

using Fields = std::vector<std::string>;

TEST(RecordFormatTest, AnyBytesAreReadAsTheyWereWritten) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes += static_cast<char>(byte);
  const std::string text = FormatRecord({{.key = "active", .value = bytes}});
  EXPECT_EQ(FieldsOf(text), Fields{"active=" + bytes});
  for (const char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
}

TEST(RecordFormatTest, AKeyOfAListHoldsAnyNumber) {
  const std::string text = FormatRecord({{.key = "root", .value = "/a"},
                                         {.key = "name", .value = "x"},
                                         {.key = "root", .value = "/b"}});
  EXPECT_EQ(FieldsOf(text), (Fields{"root=/a", "root=/b", "name=x"}));
}

TEST(RecordFormatTest, TextsByHandMayBeUtf8) {
  EXPECT_EQ(FieldsOf("{\"version\": 2, \"name\": \"\xc3\xbc\", \"x\": \"\\u00fc\"}"),
            (Fields{"name=\xc3\xbc", "x=\xc3\xbc"}));
}

TEST(RecordFormatTest, TheLinesOfVersion1AreRead) {
  EXPECT_EQ(FieldsOf("version=1\nname=a\\\\b\\n\\x7f\nroot=/a\nroot=/b\nempty=\n"),
            (Fields{"name=a\\b\n\x7f", "root=/a", "root=/b", "empty="}));
}

TEST(RecordFormatTest, OtherVersionsAreRefused) {
  for (const char* text : {"version=2\n", "{\"version\": 1}", "{\"version\": 3, \"name\": 5}",
                           "{\"version\": \"2\"}"}) {
    SCOPED_TRACE(text);
    const Result<RecordFields> read = ParseRecord(text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kUnsupported);
  }
}

TEST(RecordFormatTest, WhatIsNoRecordIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no \"version\""},
      {"{}", "no \"version\""},
      {"{\"version\": 2", "complete"},
      {"{\"version\": 2} x", "complete"},
      {"{\"version\": 2, \"name\": \"a\", \"name\": \"b\"}", "repeated keys"},
      {"{\"version\": 2, \"next\": 5}", "\"next\" is not a string"},
      {"{\"version\": 2, \"next\": [\"a\"]}", "\"next\" is not a string"},
      {"{\"version\": 2, \"drop\": \"1 a\"}", "\"drop\" is not a list"},
      {"{\"version\": 2, \"drop\": [1]}", "\"drop\" is not a list"},
  };
  for (const auto& [text, says] : cases) {
    SCOPED_TRACE(text);
    const Result<RecordFields> read = ParseRecord(text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kInvalidFormat);
    EXPECT_NE(read.error().message.find(says), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace chainfs
