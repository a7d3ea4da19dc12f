// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/loop_devices.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

TEST(LoopDevices, ThoseThatAreBoundAreFound) {
  const TempDir sys;
  const auto bind = [&](const std::string& name, const std::string& backing) {
    std::filesystem::create_directories(sys / (name + "/loop"));
    std::ofstream(sys / (name + "/loop/backing_file")) << backing << "\n";
  };
  bind("loop7", "/mnt/with space/vm.raw");
  bind("loop8", "");
  bind("sda", "/not/a/loop");
  std::filesystem::create_directories(sys / "loop9");
  const std::vector<BoundLoop> loops = BoundLoops(sys.path());
  ASSERT_EQ(loops.size(), 1u);
  EXPECT_EQ(loops[0].device, "/dev/loop7");
  EXPECT_EQ(loops[0].backing, "/mnt/with space/vm.raw");
  EXPECT_TRUE(BoundLoops(sys / "nowhere").empty());
}

TEST(LoopDevices, ADeviceHasWholeSectorsWithinItsOffsetAndLimit) {
  EXPECT_EQ(LoopCapacity(4096, 0, 0), 4096u);
  EXPECT_EQ(LoopCapacity(4096 + 511, 0, 0), 4096u);
  EXPECT_EQ(LoopCapacity(4096, 1024, 0), 3072u);
  EXPECT_EQ(LoopCapacity(4096, 1024, 2048), 2048u);
  EXPECT_EQ(LoopCapacity(4096, 1024, 8192), 3072u);
  EXPECT_EQ(LoopCapacity(4096, 8192, 0), 0u);
}

TEST(LoopDevices, WhatIsNoLoopDeviceIsToldNothing) {
  EXPECT_EQ(TellLoop("/nowhere/loop0", 1, 1, 512), LoopAnswer::kNoDevice);
  const TempDir dir;
  std::ofstream(dir / "file") << "x";
  EXPECT_EQ(TellLoop(dir / "file", 1, 1, 512), LoopAnswer::kOtherFile);
}

}  // namespace
}  // namespace chainfs
