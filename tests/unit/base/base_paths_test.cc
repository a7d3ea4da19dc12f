// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/paths.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(BaseName, IsWhatFollowsTheLastSlash) {
  EXPECT_EQ(BaseName("/images/vm1.qcow2"), "vm1.qcow2");
  EXPECT_EQ(BaseName("vm1.qcow2"), "vm1.qcow2");
  EXPECT_EQ(BaseName("/"), "");
  EXPECT_EQ(BaseName("images/"), "");
  EXPECT_EQ(BaseName(""), "");
}

}  // namespace
}  // namespace chainfs
