// SPDX-License-Identifier: Apache-2.0
//
// chainctl on a real mount: how tests call it, and a chain to call it on.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/mount/control.h"

namespace chainfs {

inline CommandResult Chainctl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), BinaryPath("chainctl"));
  return RunCommand(arguments);
}

inline Json ChainctlJson(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const CommandResult result = Chainctl(arguments);
  EXPECT_EQ(result.exit_code, 0) << arguments[0] << "\n" << result.Describe();
  EXPECT_EQ(std::ranges::count(result.out, '\n'), 1) << result.out;
  return Json::parse(result.out, nullptr, false);
}

inline void ExpectError(const CommandResult& result, int exit_code) {
  EXPECT_EQ(result.exit_code, exit_code) << result.Describe();
  EXPECT_TRUE(result.err.starts_with("chainctl: ")) << result.Describe();
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.Describe();
}

// vm.raw: vm <- mid <- base, 16 MiB to merge.
class ChainctlMountTest : public testing::Test {
 protected:
  void SetUp() override {
    Random random;
    const TempDir making;
    WriteRandomFile(making / "data.raw", 16 << 20, random);
    MustRun({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "data.raw",
             dir_ / "base.qcow2"});
    CreateQcow2(dir_ / "mid.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir_ / "mid.qcow2", "qcow2", {"write -P 1 1M 256k"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "mid.qcow2"});
    WriteTextFile(dir_ / "bad.qcow2", "not an image");
    Flatten(dir_ / "vm.qcow2", "qcow2", flat_);
    daemon_ =
        std::make_unique<Daemon>(std::vector<std::string>{dir_.path()},
                                 std::vector<std::string>{"-o", "target_dir=" + outside_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
  }

  const TempDir dir_;
  const TempDir outside_;
  const std::string flat_ = outside_ / "flat";
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
};

}  // namespace chainfs
