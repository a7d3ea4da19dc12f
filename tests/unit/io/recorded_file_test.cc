// SPDX-License-Identifier: Apache-2.0
//
// Which file a record means: by inode number, and by when it was made where both sides know that.
#include "blocklayer/io/recorded_file.h"

#include <gtest/gtest.h>

#include "blocklayer/io/posix.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

TEST(RecordedFileTest, ANumberThatWasGivenAwayAgainMeansAnotherFile) {
  const RecordedFile made{.inode = 7, .born = 100};
  EXPECT_TRUE(made.Means({.inode = 7, .born = 100}));
  EXPECT_FALSE(made.Means({.inode = 7, .born = 101}));
  EXPECT_FALSE(made.Means({.inode = 8, .born = 100}));
}

TEST(RecordedFileTest, WhatNobodyHasSaidTellsNothing) {
  EXPECT_TRUE((RecordedFile{.inode = 7, .born = 0}.Means({.inode = 7, .born = 100})));
  EXPECT_TRUE((RecordedFile{.inode = 7, .born = 100}.Means({.inode = 7, .born = 0})));
  EXPECT_FALSE((RecordedFile{.inode = 7, .born = 0}.Means({.inode = 8, .born = 0})));
}

TEST(RecordedFileTest, StaysTheSameWhateverIsDoneToTheFile) {
  const TempDir dir;
  const auto directory = OpenPosixDirectory(dir.path());
  ASSERT_TRUE(directory);
  RecordedFile made;
  {
    const auto file = (*directory)->Create("a", 0644);
    ASSERT_TRUE(file);
    made = RecordedFileOf(**file).value();
    ASSERT_TRUE((*file)->Truncate(4096));
    ASSERT_TRUE((*file)->DataSync());
  }
  ASSERT_TRUE((*directory)->Rename("a", "b"));
  const auto again = (*directory)->Open("b", OpenMode::kReadOnly);
  ASSERT_TRUE(again);
  EXPECT_EQ(RecordedFileOf(**again).value(), made);
}

TEST(RecordedFileTest, AHostThatDoesNotSayLeavesItOut) {
  const auto host = MemHost::Create();
  const auto file = host->OpenRoot()->Create("a", 0644);
  ASSERT_TRUE(file);
  const RecordedFile made = RecordedFileOf(**file).value();
  EXPECT_NE(made.inode, 0u);
  EXPECT_EQ(made.born, 0);
}

}  // namespace
}  // namespace chainfs
