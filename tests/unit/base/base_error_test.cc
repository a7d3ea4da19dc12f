// SPDX-License-Identifier: Apache-2.0
//
// Error, Result and the macros: kinds from errno, one-line messages, errors that reach the caller.
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "blocklayer/base/result.h"

namespace chainfs {
namespace {

TEST(BaseError, KindFollowsErrno) {
  const auto kind = [](int error) { return FailErrno(error, "x").error().kind; };
  EXPECT_EQ(kind(ENOSPC), ErrorKind::kNoSpace);
  EXPECT_EQ(kind(EDQUOT), ErrorKind::kNoSpace);
  EXPECT_EQ(kind(ENOENT), ErrorKind::kNotFound);
  EXPECT_EQ(kind(EACCES), ErrorKind::kPermission);
  EXPECT_EQ(kind(EPERM), ErrorKind::kPermission);
  EXPECT_EQ(kind(EXDEV), ErrorKind::kAccess);
  EXPECT_EQ(kind(ELOOP), ErrorKind::kAccess);
  EXPECT_EQ(kind(EROFS), ErrorKind::kReadOnly);
  EXPECT_EQ(kind(EEXIST), ErrorKind::kExists);
  EXPECT_EQ(kind(ENOMEM), ErrorKind::kNoMemory);
  EXPECT_EQ(kind(EBUSY), ErrorKind::kBusy);
  EXPECT_EQ(kind(EIO), ErrorKind::kIo);
  EXPECT_EQ(kind(EFBIG), ErrorKind::kIo);
}

TEST(BaseError, MessagesSayWhatAndWhy) {
  const Error error = FailErrno(ENOSPC, "/img/a.qcow2: cannot write").error();
  EXPECT_EQ(error.message, "/img/a.qcow2: cannot write: No space left on device");
  EXPECT_EQ(error.sys_errno, ENOSPC);
  const Error outer = WithContext(error, "vm1");
  EXPECT_EQ(outer.message, "vm1: /img/a.qcow2: cannot write: No space left on device");
  EXPECT_EQ(outer.kind, ErrorKind::kNoSpace);
  EXPECT_EQ(outer.sys_errno, ENOSPC);
  EXPECT_NE(FailErrno(987654, "x").error().message, "");
}

TEST(BaseError, TooManyOpenFilesSaysWhatToDo) {
  EXPECT_EQ(FailErrno(EMFILE, "/img/a.qcow2: cannot open").error().message,
            "/img/a.qcow2: cannot open: too many open files; raise the limit (ulimit -n, or "
            "LimitNOFILE= of a systemd unit)");
  EXPECT_NE(FailErrno(ENFILE, "x").error().message.find("fs.file-max"), std::string::npos);
}

TEST(BaseError, EveryKindHasAWordOfItsOwn) {
  std::set<std::string_view> names;
  const int count = static_cast<int>(ErrorKind::kShutdown) + 1;
  for (int i = 0; i < count; ++i) names.insert(ErrorKindName(static_cast<ErrorKind>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(count));
  EXPECT_FALSE(names.contains("unknown"));
}

Status Try(Status inner, bool& reached) {
  CHAINFS_TRY(std::move(inner));
  reached = true;
  return {};
}

Result<int> Assign(Result<std::unique_ptr<int>> inner) {
  CHAINFS_ASSIGN(const std::unique_ptr<int> value, std::move(inner));
  int copy = 0;
  CHAINFS_ASSIGN(copy, Result<int>(*value));
  return copy;
}

TEST(BaseError, MacrosPassErrorsOnAndValuesThrough) {
  bool reached = false;
  EXPECT_TRUE(Try({}, reached));
  EXPECT_TRUE(reached);
  reached = false;
  const Status failed = Try(Fail(ErrorKind::kBusy, "in use"), reached);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "in use");
  EXPECT_FALSE(reached);
  EXPECT_EQ(Assign(std::make_unique<int>(7)).value(), 7);
  EXPECT_EQ(Assign(Fail(ErrorKind::kStale, "old")).error().kind, ErrorKind::kStale);
}

}  // namespace
}  // namespace chainfs
