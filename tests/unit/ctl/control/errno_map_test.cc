// SPDX-License-Identifier: Apache-2.0
//
// Every kind of error has an errno, and none of those that the kernel would misread.
#include "ctl/control/errno_map.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace chainfs::control {
namespace {

int Map(ErrorKind kind, int sys_errno = 0) {
  return ErrnoOf(Error{.kind = kind, .sys_errno = sys_errno, .message = "x"});
}

TEST(ErrnoMap, KindsHaveTheDocumentedNumbers) {
  EXPECT_EQ(Map(ErrorKind::kIo), EIO);
  EXPECT_EQ(Map(ErrorKind::kNoSpace), ENOSPC);
  EXPECT_EQ(Map(ErrorKind::kNoSpace, EDQUOT), EDQUOT);
  EXPECT_EQ(Map(ErrorKind::kNoMemory), ENOMEM);
  EXPECT_EQ(Map(ErrorKind::kCorrupt), EIO);
  EXPECT_EQ(Map(ErrorKind::kUnsupported), EOPNOTSUPP);
  EXPECT_EQ(Map(ErrorKind::kInvalidArgument), EINVAL);
  EXPECT_EQ(Map(ErrorKind::kNotFound), ENOENT);
  EXPECT_EQ(Map(ErrorKind::kNoSuchJob), ESRCH);
  EXPECT_EQ(Map(ErrorKind::kExists), EEXIST);
  EXPECT_EQ(Map(ErrorKind::kBusy), EBUSY);
  EXPECT_EQ(Map(ErrorKind::kPermission), EPERM);
  EXPECT_EQ(Map(ErrorKind::kAccess), EACCES);
  EXPECT_EQ(Map(ErrorKind::kReadOnly), EROFS);
  EXPECT_EQ(Map(ErrorKind::kLoop), ELOOP);
  EXPECT_EQ(Map(ErrorKind::kStale), ECANCELED);
  EXPECT_EQ(Map(ErrorKind::kShutdown), ESHUTDOWN);
}

TEST(ErrnoMap, NeverANumberThatTheKernelActsUpon) {
  for (int kind = 0; kind <= static_cast<int>(ErrorKind::kShutdown); ++kind) {
    for (int host = 0; host < 134; ++host) {
      const int number = Map(static_cast<ErrorKind>(kind), host);
      EXPECT_GT(number, 0);
      EXPECT_LT(number, 512);
      EXPECT_NE(number, ENOSYS);
      EXPECT_NE(number, EAGAIN);
      EXPECT_NE(number, ESTALE);
    }
  }
}

TEST(ErrnoMap, NumbersHaveNames) {
  EXPECT_EQ(ErrnoName(EBUSY), "EBUSY");
  EXPECT_EQ(ErrnoName(500), "errno 500");
}

}  // namespace
}  // namespace chainfs::control
