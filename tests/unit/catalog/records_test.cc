// SPDX-License-Identifier: Apache-2.0
//
// The records beside the images: their text, whom they are believed, and what a crash leaves.
#include "blocklayer/catalog/records.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocklayer/catalog/left_out.h"
#include "blocklayer/io/posix.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

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

TEST(RecordsTest, ARecordIsReadableText) {
  EXPECT_EQ(FormatChainRecord(SampleRecord(), "/images"),
            "version=1\nname=vm1\nactive=vm1.1.qcow2\nformat=qcow2\norigin=vm1.raw\n"
            "backing=vm1.raw\nroot=/elsewhere\nroot=/more\n");
}

TEST(RecordsTest, WhatIsWrittenIsRead) {
  ChainRecord record = SampleRecord();
  record.next = "/elsewhere/back\\slash\nline\x01\x7f=.qcow2";
  record.drops = {{.path = "/images/vm1.3.qcow2", .inode = 12},
                  {.path = "/elsewhere/two words", .inode = 7}};
  const Result<ChainRecord> read =
      ParseChainRecord(FormatChainRecord(record, "/images"), "/images");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, record);
}

TEST(RecordsTest, AMarkIsARecord) {
  const LeftOut mark{.path = "/images/mid.qcow2", .inode = 99, .into = "/other/vm1.qcow2"};
  const std::string text = FormatLeftOut(mark, "/images");
  const Result<LeftOut> read = ParseLeftOut(text, "/images");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, mark);
  EXPECT_EQ(ParseLeftOut(text, "/moved")->path, "/moved/mid.qcow2");
  EXPECT_EQ(LeftOutName(mark), "merged-mid.qcow2-99");
  EXPECT_FALSE(ParseLeftOut(text.substr(0, text.find("inode")), "/images"));
  EXPECT_FALSE(ParseLeftOut("version=2\n", "/images"));
}

TEST(RecordsTest, TheSourceMayMove) {
  const Result<ChainRecord> read =
      ParseChainRecord(FormatChainRecord(SampleRecord(), "/images"), "/srv/moved");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->active, "/srv/moved/vm1.1.qcow2");
}

TEST(RecordsTest, UnknownKeysAreIgnoredAndUnknownVersionsAreNot) {
  const std::string rest = "name=a\nactive=/x/a.qcow2\nformat=qcow2\n";
  EXPECT_TRUE(ParseChainRecord("version=1\n" + rest + "colour=blue\n", "/x"));
  const Result<ChainRecord> later = ParseChainRecord("version=2\n" + rest, "/x");
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().kind, ErrorKind::kUnsupported);
}

TEST(RecordsTest, NonsenseIsRefusedWithItsLine) {
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
      {"version=1\nname=a\nactive=/a\nformat=vmdk\n", "line 4"},
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
TEST(RecordsTest, HandWrittenPathsAreMadeNormal) {
  const Result<ChainRecord> read = ParseChainRecord(
      "version=1\nname=a\nactive=./sub//..a.raw\norigin=/x/./a.raw\nformat=raw\nroot=/y/\n", "/x");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->active, "/x/sub/..a.raw");
  EXPECT_EQ(read->origin, "/x/a.raw");
  EXPECT_EQ(read->roots, std::vector<std::string>{"/y"});
}

TEST(RecordsTest, LongNamesStayFileNamesAndDistinct) {
  const std::string a = ChainRecordName(std::string(251, 'a'));
  const std::string b = ChainRecordName(std::string(250, 'a'));
  EXPECT_LE(a.size(), 240u);
  EXPECT_NE(a, b);
  EXPECT_EQ(ChainRecordName("vm1"), "chain-vm1");
}

class RecordStoreTest : public testing::Test {
 protected:
  RecordStoreTest() {
    auto opened = OpenPosixDirectory(dir_.path());
    EXPECT_TRUE(opened);
    store_.emplace(std::shared_ptr<Directory>(*std::move(opened)));
  }

  TempDir dir_;
  std::optional<RecordStore> store_;
};

TEST_F(RecordStoreTest, NothingIsMadeBeforeTheFirstWrite) {
  const auto found = store_->ReadAll("");
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  EXPECT_TRUE(store_->Remove("chain-none"));
  EXPECT_NE(::access((dir_ / ".chainfs").c_str(), F_OK), 0);
}

TEST_F(RecordStoreTest, WrittenRecordsAreFoundByPrefixAndPrivate) {
  ASSERT_TRUE(store_->Write("chain-b", "two"));
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_TRUE(store_->Write("job-a", "other"));
  struct stat st = {};
  ASSERT_EQ(::stat((dir_ / ".chainfs").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  const auto found = store_->ReadAll("chain-");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ(found->front().name, "chain-a");
  EXPECT_EQ(*found->front().contents, "one");
  ASSERT_TRUE(store_->Remove("chain-a"));
  EXPECT_EQ(store_->ReadAll("chain-")->size(), 1u);
}

TEST_F(RecordStoreTest, RecordsThatOthersMayWriteAreNotTrusted) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  for (const mode_t mode : {0620u, 0602u, 0666u}) {
    ASSERT_EQ(::chmod((dir_ / ".chainfs/chain-a").c_str(), mode), 0);
    const auto found = store_->ReadAll("chain-");
    ASSERT_EQ(found->size(), 1u);
    ASSERT_FALSE(found->front().contents);
    EXPECT_EQ(found->front().contents.error().kind, ErrorKind::kPermission);
  }
}

TEST_F(RecordStoreTest, RecordsOfOtherUsersAreNotTrusted) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::chown((dir_ / ".chainfs/chain-a").c_str(), 12345, 12345), 0);
  EXPECT_FALSE(store_->ReadAll("chain-")->front().contents);
}

TEST_F(RecordStoreTest, ARecordWithTwoNamesIsNotTrusted) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::link((dir_ / ".chainfs/chain-a").c_str(), (dir_ / "elsewhere").c_str()), 0);
  EXPECT_EQ(store_->ReadAll("chain-")->front().contents.error().kind, ErrorKind::kPermission);
}

// Somebody who may rename in the source puts a directory of his own in the place of the store.
TEST_F(RecordStoreTest, AStoreThatOthersCanHaveMadeIsNotTrusted) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  const std::string path = dir_ / ".chainfs";
  for (const mode_t mode : {0720u, 0702u, 0777u}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_EQ(store_->ReadAll("chain-").error().kind, ErrorKind::kPermission);
    EXPECT_EQ(store_->Write("chain-a", "two").error().kind, ErrorKind::kPermission);
  }
  ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  EXPECT_TRUE(store_->ReadAll("chain-"));
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
    EXPECT_EQ(store_->ReadAll("chain-").error().kind, ErrorKind::kPermission);
  }
  ASSERT_EQ(::rename(path.c_str(), (dir_ / "real").c_str()), 0);
  ASSERT_EQ(::symlink("real", path.c_str()), 0);
  EXPECT_FALSE(store_->ReadAll("chain-")) << "a link is no directory";
}

TEST_F(RecordStoreTest, OnlyARecordInADirectoryOfOursSpeaksOfFilesElsewhere) {
  ChainRecord here;
  here.active = dir_ / "b.qcow2";
  ChainRecord elsewhere;
  elsewhere.active = "/elsewhere/b.qcow2";
  ChainRecord root = here;
  root.roots = {"/elsewhere"};
  ChainRecord climbing;
  climbing.active = dir_ / "../other/b.qcow2";
  for (const ChainRecord& record : {here, elsewhere, root, climbing}) {
    EXPECT_TRUE(store_->CheckTrusted(record));
  }
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0777), 0);
  EXPECT_TRUE(store_->CheckTrusted(here));
  EXPECT_EQ(store_->CheckTrusted(elsewhere).error().kind, ErrorKind::kPermission);
  EXPECT_EQ(store_->CheckTrusted(root).error().kind, ErrorKind::kPermission);
  EXPECT_EQ(store_->CheckTrusted(climbing).error().kind, ErrorKind::kPermission);
}

TEST_F(RecordStoreTest, ARecordThatIsNoRegularFileIsNotRead) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::unlink((dir_ / ".chainfs/chain-a").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir_ / ".chainfs/chain-a").c_str(), 0600), 0);
  EXPECT_FALSE(store_->ReadAll("chain-")->front().contents);
}

// After a crash a record is the old one or the new one; once Write has returned, the new one.
TEST(RecordStoreCrashTest, ARecordIsOldOrNew) {
  auto host = MemHost::Create();
  {
    RecordStore store(std::shared_ptr<Directory>(host->OpenRoot()));
    ASSERT_TRUE(store.Write("chain-a", "old\n"));
    host->StartRecording();
    ASSERT_TRUE(store.Write("chain-a", "new\n"));
    host->Mark("written");
  }
  auto recording = host->StopRecording();
  size_t written_at = 0;
  for (size_t i = 0; i < recording->events.size(); ++i) {
    if (recording->events[i].op == HostOp::kMark) written_at = i;
  }
  CrashEnumerator crash(recording);
  bool saw_old = false;
  crash.ForEachState([&](const CrashState& state) {
    SCOPED_TRACE(state.Describe());
    RecordStore store(std::shared_ptr<Directory>(state.MakeHost()->OpenRoot()));
    const auto found = store.ReadAll("chain-");
    EXPECT_TRUE(found && found->size() == 1 && found->front().contents);
    if (testing::Test::HasFailure()) return false;
    const std::string& text = *found->front().contents;
    EXPECT_TRUE(text == "new\n" || (text == "old\n" && state.point <= written_at)) << text;
    saw_old = saw_old || text == "old\n";
    return !testing::Test::HasFailure();
  });
  EXPECT_TRUE(saw_old);
}

}  // namespace
}  // namespace chainfs
