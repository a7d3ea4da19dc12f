// SPDX-License-Identifier: Apache-2.0
#include "fusefs/without_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "blocklayer/base/unique_fd.h"

namespace chainfs::fusefs {
namespace {

bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(WithoutFiles, KeepsWhatItIsToldForTheOneThreadAlone) {
  const UniqueFd first(::open("/", O_PATH | O_CLOEXEC));
  const UniqueFd second(::open("/", O_PATH | O_CLOEXEC));
  const UniqueFd third(::open("/", O_PATH | O_CLOEXEC));
  std::thread([&] {
    LeaveFiles({third.get(), -1, second.get()});
    EXPECT_TRUE(IsOpen(STDERR_FILENO));
    EXPECT_FALSE(IsOpen(first.get()));
    EXPECT_TRUE(IsOpen(second.get()));
    EXPECT_TRUE(IsOpen(third.get()));
  }).join();
  EXPECT_TRUE(IsOpen(first.get()));
  EXPECT_TRUE(IsOpen(second.get()));
}

// The end of a pipe is seen although the thread goes on.
TEST(WithoutFiles, HoldsNothingThatTheProcessLetsGoOf) {
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
  RunWithoutFiles([&] {
    EXPECT_FALSE(IsOpen(to.get()));
    char byte = 0;
    EXPECT_EQ(::read(from.get(), &byte, 1), -1) << "it has no such file";
  });
  EXPECT_TRUE(IsOpen(to.get()));
  to = UniqueFd();
  char byte = 0;
  EXPECT_EQ(::read(from.get(), &byte, 1), 0);
}

}  // namespace
}  // namespace chainfs::fusefs
