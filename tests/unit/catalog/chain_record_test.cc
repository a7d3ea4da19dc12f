// SPDX-License-Identifier: Apache-2.0
//
// The texts of records: those of chains and of layers that were left out.
#include "blocklayer/catalog/chain_record.h"

#include <gtest/gtest.h>

#include "blocklayer/catalog/left_out.h"

namespace chainfs {
namespace {

ChainRecord SampleRecord() {
  return {.name = "vm1",
          .active = "/images/vm1.1.qcow2",
          .format = ImageFormat::kQcow2,
          .origin = "/images/vm1.raw",
          .backing = "/images/vm1.raw",
          .next = {},
          .roots = {"/elsewhere", "/more"}};
}

TEST(ChainRecordTest, ARecordIsReadableText) {
  EXPECT_EQ(FormatChainRecord(SampleRecord(), "/images"),
            R"({
  "version": 2,
  "name": "vm1",
  "active": "vm1.1.qcow2",
  "format": "qcow2",
  "origin": "vm1.raw",
  "backing": "vm1.raw",
  "root": [
    "/elsewhere",
    "/more"
  ]
}
)");
}

TEST(ChainRecordTest, OneMergedFileMayBeAString) {
  const Result<ChainRecord> read = ParseChainRecord(
      R"({"version": 2, "name": "vm1", "active": "a", "format": "qcow2", "merged": "14 b.qcow2"})",
      "/images");
  ASSERT_TRUE(read) << read.error().message;
  const std::vector<ChainRecord::Dropped> merged = {
      {.path = "/images/b.qcow2", .file = {.inode = 14}}};
  EXPECT_EQ(read->merged, merged);
}

// As earlier versions of chainfs wrote it.
TEST(ChainRecordTest, TheOldTextIsRead) {
  const Result<ChainRecord> read = ParseChainRecord(
      "version=1\nname=vm1\nactive=vm1.1.qcow2\nformat=qcow2\norigin=vm1.raw\nbacking=vm1.raw\n"
      "next=back\\\\slash\\nline\\x01.qcow2\ndrop=12 vm1.3.qcow2\ndrop=7 /elsewhere/two words\n"
      "root=/elsewhere\nroot=/more\n",
      "/images");
  ASSERT_TRUE(read) << read.error().message;
  ChainRecord expected = SampleRecord();
  expected.next = "/images/back\\slash\nline\x01.qcow2";
  expected.drops = {{.path = "/images/vm1.3.qcow2", .file = {.inode = 12}},
                    {.path = "/elsewhere/two words", .file = {.inode = 7}}};
  EXPECT_EQ(*read, expected);
}

TEST(ChainRecordTest, WhatIsWrittenIsRead) {
  ChainRecord record = SampleRecord();
  record.next = "/elsewhere/back\\slash\nline\x01\x7f=\"\xff%41.qcow2";
  record.drops = {{.path = "/images/vm1.3.qcow2", .file = {.inode = 12}},
                  {.path = "/elsewhere/two words", .file = {.inode = 7}}};
  record.stale = {{.path = "/images/vm1.4.qcow2", .file = {.inode = 13}}};
  record.merged = {{.path = "/images/vm1.5.qcow2", .file = {.inode = 14}}};
  record.merged.push_back({.path = "/images/two words", .file = {.inode = 15, .born = 1234567890}});
  record.drops[1].file.born = -5;
  record.merged_by = "mirror-1";
  const Result<ChainRecord> read =
      ParseChainRecord(FormatChainRecord(record, "/images"), "/images");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, record);
}

TEST(ChainRecordTest, AMarkKnowsItsFileByMoreThanItsInode) {
  LeftOut mark{.path = "/images/mid.qcow2", .inode = 99, .into = "/images/vm.qcow2"};
  for (const char* backing : {"", "base 1.qcow2", "../\n%"}) {
    mark.built_on = backing;
    const Result<LeftOut> read = ParseLeftOut(FormatLeftOut(mark, "/images"), "/images");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, mark);
  }
}

TEST(ChainRecordTest, AMarkIsARecord) {
  const LeftOut mark{.path = "/images/mid.qcow2", .inode = 99, .into = "/other/vm1.qcow2"};
  const std::string text = FormatLeftOut(mark, "/images");
  const Result<LeftOut> read = ParseLeftOut(text, "/images");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, mark);
  EXPECT_EQ(ParseLeftOut(text, "/moved")->path, "/moved/mid.qcow2");
  EXPECT_EQ(LeftOutName(mark), "merged-mid.qcow2-99");
  const std::optional<FileInName> file = FileOfLeftOutName("merged-mid-1.qcow2-99");
  ASSERT_TRUE(file);
  EXPECT_EQ(file->name, "mid-1.qcow2");
  EXPECT_EQ(file->inode, 99u);
  for (const char* other : {"merged-", "merged-99", "merged-a-0", "merged-a-9x", "chain-a-9"}) {
    EXPECT_FALSE(FileOfLeftOutName(other)) << other;
  }
  EXPECT_FALSE(ParseLeftOut(text.substr(0, text.find("inode")), "/images"));
  EXPECT_FALSE(ParseLeftOut("version=2\n", "/images"));
  const std::string old =
      "version=1\nname=merged\nactive=mid.qcow2\nformat=qcow2\nbacking=/other/vm1.qcow2\n";
  EXPECT_EQ(*ParseLeftOut(old + "inode=99\n", "/images"), mark);
  EXPECT_FALSE(ParseLeftOut(old, "/images")) << "it names no inode";
}

TEST(ChainRecordTest, TheSourceMayMove) {
  const Result<ChainRecord> read =
      ParseChainRecord(FormatChainRecord(SampleRecord(), "/images"), "/srv/moved");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->active, "/srv/moved/vm1.1.qcow2");
}

TEST(ChainRecordTest, UnknownKeysAreIgnoredAndUnknownVersionsAreNot) {
  const std::string rest = "name=a\nactive=/x/a.qcow2\nformat=qcow2\n";
  EXPECT_TRUE(ParseChainRecord("version=1\n" + rest + "colour=blue\n", "/x"));
  const Result<ChainRecord> later = ParseChainRecord("version=2\n" + rest, "/x");
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().kind, ErrorKind::kUnsupported);
}

TEST(ChainRecordTest, NonsenseInJsonIsRefusedWithItsKey) {
  struct Case {
    const char* text;
    const char* says;
  };
  const Case cases[] = {
      {R"({"version": 2})", "no \"name\""},
      {R"({"version": 2, "name": "a", "active": "/a", "format": "qed"})", "\"format\" has"},
      {R"({"version": 2, "name": "a/b", "active": "/a", "format": "raw"})", "slash"},
      {R"({"version": 2, "next": "../a"})", "\"next\" has \"..\""},
      {R"({"version": 2, "drop": ["0 a"]})", "\"drop\" has no inode"},
      {R"({"version": 2, "root": ["/x", "/x/.."]})", "\"root\" has \"..\""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const Result<ChainRecord> read = ParseChainRecord(c.text, "/x");
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find(c.says), std::string::npos) << read.error().message;
  }
}

TEST(ChainRecordTest, NonsenseIsRefusedWithItsLine) {
  struct Case {
    const char* text;
    const char* says;
  };
  const Case cases[] = {
      {"", "no \"version\""},
      {"version=1\n", "no \"name\""},
      {"name=a\nversion=1\n", "line 1"},
      {"version=1\nversion=1\n", "line 2"},
      {"version=1\nname=a\nname=b\n", "line 3"},
      {"version=1\nnonsense\n", "line 2"},
      {"version=1\nname=a", "line 2"},
      {"version=1\nname=\\q\n", "line 2"},
      {"version=1\nname=\\x4\n", "line 2"},
      {"version=1\nname=\\\n", "line 2"},
      {"version=1\nname=a\nactive=/a\nformat=qed\n", "line 4"},
      {"version=1\nname=a/b\nactive=/a\nformat=raw\n", "slash"},
      {"version=1\nname=a\nformat=raw\n", "no \"active\""},
      {"version=1\nname=a\nactive=../y/a.raw\nformat=raw\n", "line 3"},
      {"version=1\nname=a\nactive=/x/../y/a.raw\nformat=raw\n", "line 3"},
      {"version=1\nname=a\nactive=a.raw\norigin=sub/..\nformat=raw\n", "line 4"},
      {"version=1\nbacking=../a\n", "line 2"},
      {"version=1\nnext=../a\n", "line 2"},
      {"version=1\nroot=/x/..\n", "line 2"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const Result<ChainRecord> read = ParseChainRecord(c.text, "/x");
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find(c.says), std::string::npos) << read.error().message;
  }
}

// Paths are compared as text with those of entries.
TEST(ChainRecordTest, HandWrittenPathsAreMadeNormal) {
  const Result<ChainRecord> read = ParseChainRecord(
      "version=1\nname=a\nactive=./sub//..a.raw\norigin=/x/./a.raw\nformat=raw\nroot=/y/\n", "/x");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->active, "/x/sub/..a.raw");
  EXPECT_EQ(read->origin, "/x/a.raw");
  EXPECT_EQ(read->roots, std::vector<std::string>{"/y"});
}

TEST(ChainRecordTest, LongNamesStayFileNamesAndDistinct) {
  const std::string a = ChainRecordName(std::string(251, 'a'));
  const std::string b = ChainRecordName(std::string(250, 'a'));
  EXPECT_LE(a.size(), 240u);
  EXPECT_NE(a, b);
  EXPECT_EQ(ChainRecordName("vm1"), "chain-vm1");
}

}  // namespace
}  // namespace chainfs
