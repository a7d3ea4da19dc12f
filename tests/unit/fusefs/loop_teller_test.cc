// SPDX-License-Identifier: Apache-2.0
//
// The words of a task, and the thread that has one carried out. Devices are told in
// tests/mount/resize_test.cc.
#include "fusefs/loop_teller.h"

#include <gtest/gtest.h>

#include "fusefs/loop_helper.h"

namespace chainfs::fusefs {
namespace {

TEST(LoopTask, PassesThroughWords) {
  const LoopTask task = {.device = "0:52",
                         .inode = UINT64_MAX,
                         .size = 1 << 20,
                         .loops = {{.device = "/dev/loop0", .backing = "/mnt/a b/vm.raw"},
                                   {.device = "/dev/loop1", .backing = "/mnt/c.raw"}}};
  const std::optional<LoopTask> read = LoopTaskOf(WordsOf(task));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->device, task.device);
  EXPECT_EQ(read->inode, task.inode);
  EXPECT_EQ(read->size, task.size);
  ASSERT_EQ(read->loops.size(), 2u);
  EXPECT_EQ(read->loops[0].backing, "/mnt/a b/vm.raw");
  EXPECT_EQ(read->loops[1].device, "/dev/loop1");
}

TEST(LoopTask, OtherWordsAreNone) {
  EXPECT_FALSE(LoopTaskOf({}));
  EXPECT_FALSE(LoopTaskOf({"images", "mnt"}));
  EXPECT_FALSE(LoopTaskOf({"0:52"}));
  EXPECT_FALSE(LoopTaskOf({"0:52", "x", "512"}));
  EXPECT_FALSE(LoopTaskOf({"0:52", "1", "512", "/dev/loop0"}));
}

TEST(LoopTask, WithoutDevicesThereIsNothingToDo) {
  EXPECT_EQ(CarryOut({.device = "0:52", .inode = 1, .size = 512, .loops = {}}), 0);
}

TEST(LoopTeller, EndsAtOnceWithNothingToTell) {
  LoopTeller never;
  never.SizeChanged(1, 512);
  never.Stop();
  LoopTeller teller;
  teller.Start("0:1000000", [](const LoopTask&) { return UniqueFd(); });
  teller.SizeChanged(1, 512);
  teller.SizeChanged(2, 1024);
  teller.Stop();
  teller.SizeChanged(1, 512);
}

}  // namespace
}  // namespace chainfs::fusefs
