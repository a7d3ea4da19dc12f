// SPDX-License-Identifier: Apache-2.0
//
// chainctl transaction, and the snapshot of several disks, on a real mount.
#include <filesystem>

#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

class ChainctlTransactionTest : public ChainctlMountTest {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "other.qcow2", {.size = "16M"});
    ChainctlMountTest::SetUp();
  }
  bool IsThere(const char* name) const { return std::filesystem::exists(dir_ / name); }
};

TEST_F(ChainctlTransactionTest, AllDisksMoveOrNone) {
  const CommandResult dry =
      Chainctl({"transaction", "--dry-run", daemon_->path(), "vm/snapshot", "other/snapshot"});
  EXPECT_EQ(dry.exit_code, 0) << dry.Describe();
  EXPECT_FALSE(IsThere("vm.1.qcow2"));
  // base cannot be written, so nothing happens to the others.
  const CommandResult refused =
      Chainctl({"transaction", daemon_->path(), "vm/snapshot", "base/snapshot"});
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.err.find("base"), std::string::npos) << refused.err;
  EXPECT_FALSE(IsThere("vm.1.qcow2"));
  const Json done = ChainctlJson({"transaction", daemon_->path(), "vm/snapshot", "other/snapshot"});
  EXPECT_EQ(done["actions"], 2) << done;
  EXPECT_TRUE(IsThere("vm.1.qcow2"));
  EXPECT_TRUE(IsThere("other.1.qcow2"));
  EXPECT_TRUE(SameContents(vm_, flat_));
}

}  // namespace
}  // namespace chainfs
