// SPDX-License-Identifier: Apache-2.0
//
// The memory of what was refused or failed last (CTL-2, CTL-3).
#include "ctl/control/last_errors.h"

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

Error Failure(ErrorKind kind, std::string message) {
  return Error{.kind = kind, .sys_errno = 0, .message = std::move(message)};
}

class LastErrorsTest : public ControlTest {
 protected:
  void SetUp() override {
    Make("a.qcow2");
    Make("b.qcow2");
    Open();
  }
  ServedDiskPtr Served(const std::string& name) { return plane_->disks.Find(name); }
  json Of(const std::string& name) {
    return json::parse(plane_->errors.Of(name.empty() ? nullptr : Served(name).get()));
  }
};

TEST_F(LastErrorsTest, ThereIsNoneAtFirst) {
  EXPECT_EQ(plane_->errors.Of(nullptr), "");
  EXPECT_EQ(plane_->errors.Of(Served("a").get()), "");
}

TEST_F(LastErrorsTest, ThatOfADiskIsThatOfTheMountToo) {
  plane_->errors.CommandRefused(Served("a").get(), "user.chainfs.stream",
                                Failure(ErrorKind::kBusy, "in use"));
  EXPECT_EQ(Of("a")["attribute"], "user.chainfs.stream");
  EXPECT_EQ(Of("a")["errno"], "EBUSY");
  EXPECT_EQ(Of("a")["message"], "in use");
  EXPECT_EQ(Of(""), Of("a"));
  EXPECT_EQ(plane_->errors.Of(Served("b").get()), "");
  EXPECT_EQ(plane_->errors.OperationRefused(nullptr, "unlink", EPERM, "not here"), EPERM);
  EXPECT_EQ(Of("")["attribute"], "unlink");
  EXPECT_EQ(Of("a")["attribute"], "user.chainfs.stream") << "that of the mount is not the disk's";
}

TEST_F(LastErrorsTest, SentencesSayWhatToDo) {
  EXPECT_EQ(plane_->errors.OperationFailed(*Served("a"), "write",
                                           Failure(ErrorKind::kNoSpace, "a.qcow2: no space")),
            ENOSPC);
  EXPECT_EQ(Of("a")["message"],
            "write failed: a.qcow2: no space; make room on the file system of the image");
  Find("b")->access().Forbid("somebody says so");
  EXPECT_EQ(plane_->errors.ChangeRefused(*Served("b"), "truncate"), EROFS);
  EXPECT_EQ(Of("b")["message"], "b is read-only: somebody says so");
  EXPECT_EQ(plane_->errors.OperationFailed(*Served("b"), "write",
                                           Failure(ErrorKind::kReadOnly, "read-only")),
            EROFS);
  EXPECT_EQ(Of("b")["message"], "write failed: b is read-only: somebody says so");
}

TEST_F(LastErrorsTest, ThatOfAJobIsKeptForADiskThatComes) {
  plane_->errors.JobFailed("a", "stream", Failure(ErrorKind::kIo, "here"));
  EXPECT_EQ(Of("a")["attribute"], "user.chainfs.stream");
  plane_->errors.JobFailed("later", "stream", Failure(ErrorKind::kIo, "lost"));
  EXPECT_EQ(Of("")["message"], "lost");
  Make("later.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(Of("later")["message"], "lost");
  // Given back once.
  ServedDiskPtr later = Served("later");
  plane_->errors.OperationRefused(later.get(), "open", EPERM, "newer");
  plane_->errors.DiskAppeared(*later);
  EXPECT_EQ(Of("later")["message"], "newer");
}

}  // namespace
}  // namespace chainfs::control
