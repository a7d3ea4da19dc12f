// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/kernel_copy.h"

#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "blocklayer/base/unique_fd.h"

namespace chainfs {
namespace {

UniqueFd TmpfsFile(size_t size) {
  UniqueFd fd(memfd_create("kernel_copy_test", 0));
  EXPECT_GE(fd.get(), 0);
  const std::vector<char> data(size, 'x');
  EXPECT_EQ(write(fd.get(), data.data(), size), static_cast<ssize_t>(size));
  return fd;
}

TEST(KernelCopy, IsRefusedWhereNothingIsShared) {
  const UniqueFd from = TmpfsFile(1 << 20);
  const UniqueFd to = TmpfsFile(0);
  struct statfs fs = {};
  ASSERT_EQ(fstatfs(from.get(), &fs), 0);
  ASSERT_EQ(static_cast<uint64_t>(fs.f_type), static_cast<uint64_t>(TMPFS_MAGIC));
  EXPECT_EQ(CopyWithinKernel(from.get(), 0, to.get(), 0, 1 << 20), EOPNOTSUPP);
  EXPECT_EQ(lseek(to.get(), 0, SEEK_END), 0);
}

TEST(KernelCopy, NothingIsNotTakenForAll) {
  const UniqueFd from = TmpfsFile(4096);
  const UniqueFd to = TmpfsFile(0);
  EXPECT_EQ(CopyWithinKernel(from.get(), 0, to.get(), 0, 0), 0);
  EXPECT_EQ(lseek(to.get(), 0, SEEK_END), 0);
}

}  // namespace
}  // namespace chainfs
