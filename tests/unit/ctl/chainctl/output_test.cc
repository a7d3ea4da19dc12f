// SPDX-License-Identifier: Apache-2.0
//
// Tables align, foreign text is harmless, and mounts are found by their type alone.
#include "ctl/chainctl/output.h"

#include <gtest/gtest.h>

#include "ctl/chainctl/mounts.h"

namespace chainfs::chainctl {
namespace {

TEST(TableTest, AlignsAndLeavesNoTrailingSpace) {
  Table table;
  table.AddColumn("NAME").AddColumn("SIZE", Table::Align::kRight).AddColumn("NOTE");
  table.AddRow({"vm1", "20 GiB", "x"});
  table.AddRow({"longer", "1 B", ""});
  table.AddRow({"ö", "", "y"});
  EXPECT_EQ(table.Render(Painter(false)),
            "NAME      SIZE  NOTE\n"
            "vm1     20 GiB  x\n"
            "longer     1 B\n"
            "ö               y\n");
}

TEST(TableTest, ColoursDoNotShiftColumns) {
  Table table;
  table.AddColumn("A").AddColumn("B");
  table.AddRow({Table::Cell("x", Colour::kRed), "y"});
  EXPECT_EQ(table.Render(Painter(true)), "\033[1mA\033[0m  \033[1mB\033[0m\n\033[31mx\033[0m  y\n");
}

TEST(SafeTextTest, NoControlCharacterPasses) {
  EXPECT_EQ(SafeText("a\x1b[31mb\n\t\x7f"), "a?[31mb???");
  EXPECT_EQ(SafeText("\xc2\x9b"
                     "31m"),
            "?31m");  // CSI as one C1 character
  EXPECT_EQ(SafeText("grün"), "grün");
}

TEST(MountsTest, OnlyOurTypeAndOnlyWhatIsOnTop) {
  const std::string mountinfo =
      "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda rw\n"
      "30 22 0:40 / /mnt/a rw,nosuid - fuse.chainfs /img rw,user_id=0\n"
      "31 22 0:41 / /mnt/with\\040space rw - fuse.chainfs chainfs rw\n"
      "32 22 0:42 / /mnt/other rw - fuse.sshfs host: rw\n"
      "33 22 0:43 / /mnt/hidden rw master:2 shared:7 - fuse.chainfs x rw\n"
      "34 33 0:44 / /mnt/hidden rw - tmpfs tmpfs rw\n"
      "malformed\n";
  EXPECT_EQ(ChainfsMountsIn(mountinfo), (std::vector<std::string>{"/mnt/a", "/mnt/with space"}));
}

}  // namespace
}  // namespace chainfs::chainctl
