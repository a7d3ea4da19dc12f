// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/corruption.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

TEST(CorruptionTest, TheFirstReasonCounts) {
  Corruption corruption("/d/a.qcow2");
  EXPECT_FALSE(corruption.found());
  EXPECT_EQ(corruption.reason(), "");
  EXPECT_TRUE(corruption.Note("one"));
  EXPECT_FALSE(corruption.Note("another"));
  EXPECT_TRUE(corruption.found());
  EXPECT_EQ(corruption.reason(), "one");
}

TEST(CorruptionTest, TheReasonLeavesTheFileOut) {
  Corruption corruption("/d/a.qcow2");
  ASSERT_TRUE(corruption.Note(CorruptEntry("/d/a.qcow2", "L1 entry", 0x1200).error().message));
  EXPECT_EQ(corruption.reason(),
            "the image is corrupt: bad L1 entry 0x1200; look at it with qemu-img check");
}

}  // namespace
}  // namespace chainfs::qcow2
