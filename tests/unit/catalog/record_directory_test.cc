// SPDX-License-Identifier: Apache-2.0
//
// The records beside the images: whom they are believed, and what a crash leaves.
#include "blocklayer/catalog/record_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocklayer/io/posix.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class RecordDirectoryTest : public testing::Test {
 protected:
  RecordDirectoryTest() {
    auto opened = OpenPosixDirectory(dir_.path());
    EXPECT_TRUE(opened);
    store_.emplace(std::shared_ptr<Directory>(*std::move(opened)));
  }

  TempDir dir_;
  std::optional<RecordDirectory> store_;
};

TEST_F(RecordDirectoryTest, NothingIsMadeBeforeTheFirstWrite) {
  const auto found = store_->ReadAll("");
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  EXPECT_TRUE(store_->Remove("chain-none"));
  EXPECT_NE(::access((dir_ / ".chainfs").c_str(), F_OK), 0);
}

TEST_F(RecordDirectoryTest, WrittenRecordsAreFoundByPrefixAndPrivate) {
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

TEST_F(RecordDirectoryTest, WhatHasLostItsOwnerIsRemoved) {
  EXPECT_TRUE(store_->RemoveOrphans("log-", "job-"));
  ASSERT_TRUE(store_->Create("job-a", "one"));
  for (const char* name : {"log-a", "log-b", "log-", "chain-b", "logs"}) {
    ASSERT_TRUE(store_->Write(name, std::string(2 << 20, 'x'))) << name;
  }
  // One that does not count has an owner all the same.
  ASSERT_TRUE(store_->Write("job-c", "three"));
  ASSERT_EQ(::chmod((dir_ / ".chainfs/job-c").c_str(), 0666), 0);
  ASSERT_TRUE(store_->Write("log-c", "three"));
  ASSERT_TRUE(store_->RemoveOrphans("log-", "job-"));
  std::vector<std::string> left;
  const auto found = store_->ReadAll("");
  for (const RecordDirectory::Found& record : *found) left.push_back(record.name);
  EXPECT_EQ(left,
            (std::vector<std::string>{"chain-b", "job-a", "job-c", "log-a", "log-c", "logs"}));
}

TEST_F(RecordDirectoryTest, RecordsThatOthersMayWriteAreNotTrusted) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  for (const mode_t mode : {0620u, 0602u, 0666u}) {
    ASSERT_EQ(::chmod((dir_ / ".chainfs/chain-a").c_str(), mode), 0);
    const auto found = store_->ReadAll("chain-");
    ASSERT_EQ(found->size(), 1u);
    ASSERT_FALSE(found->front().contents);
    EXPECT_EQ(found->front().contents.error().kind, ErrorKind::kPermission);
  }
}

TEST_F(RecordDirectoryTest, RecordsOfOtherUsersAreNotTrusted) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::chown((dir_ / ".chainfs/chain-a").c_str(), 12345, 12345), 0);
  EXPECT_FALSE(store_->ReadAll("chain-")->front().contents);
}

TEST_F(RecordDirectoryTest, ARecordWithTwoNamesIsNotTrusted) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::link((dir_ / ".chainfs/chain-a").c_str(), (dir_ / "elsewhere").c_str()), 0);
  EXPECT_EQ(store_->ReadAll("chain-")->front().contents.error().kind, ErrorKind::kPermission);
}

// Somebody who may rename in the source puts a directory of his own in the place of the store.
TEST_F(RecordDirectoryTest, AStoreThatOthersCanHaveMadeIsNotTrusted) {
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

TEST_F(RecordDirectoryTest, OnlyARecordInADirectoryOfOursSpeaksOfFilesElsewhere) {
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

TEST_F(RecordDirectoryTest, ARecordThatIsNoRegularFileIsNotRead) {
  ASSERT_TRUE(store_->Write("chain-a", "one"));
  ASSERT_EQ(::unlink((dir_ / ".chainfs/chain-a").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir_ / ".chainfs/chain-a").c_str(), 0600), 0);
  EXPECT_FALSE(store_->ReadAll("chain-")->front().contents);
}

// After a crash a record is the old one or the new one; once Write has returned, the new one.
TEST(RecordDirectoryCrashTest, ARecordIsOldOrNew) {
  auto host = MemHost::Create();
  {
    RecordDirectory store(std::shared_ptr<Directory>(host->OpenRoot()));
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
    RecordDirectory store(std::shared_ptr<Directory>(state.MakeHost()->OpenRoot()));
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
