// SPDX-License-Identifier: Apache-2.0
//
// -v prints a line that a shell can run.
#include "ctl/chainctl/setfattr_line.h"

#include <gtest/gtest.h>

namespace chainfs::chainctl {
namespace {

TEST(SetfattrLineTest, QuotesForShellAndSetfattr) {
  EXPECT_EQ(SetfattrLine("stream", "base=b.qcow2,id=j1", "/mnt/vm1.raw"),
            "setfattr -n user.chainfs.stream -v base=b.qcow2,id=j1 /mnt/vm1.raw");
  EXPECT_EQ(SetfattrLine("flush", "", "/mnt/my vm.raw"),
            "setfattr -n user.chainfs.flush -v '' '/mnt/my vm.raw'");
  EXPECT_EQ(SetfattrLine("snapshot", R"(target=it's\x)", "-d"),
            R"(setfattr -n user.chainfs.snapshot -v 'target=it'\''s\\x' ./-d)");
}

}  // namespace
}  // namespace chainfs::chainctl
