// SPDX-License-Identifier: Apache-2.0
//
// Which files are images, what their chains are called, and how names of strangers are shown.
#include "blocklayer/catalog/name_rules.h"

#include <gtest/gtest.h>

namespace chainfs {
namespace {

TEST(NameRulesTest, TheExtensionAloneTellsTheFormat) {
  EXPECT_EQ(FormatOfFileName("vm.qcow2"), ImageFormat::kQcow2);
  EXPECT_EQ(FormatOfFileName("vm.raw"), ImageFormat::kRaw);
  EXPECT_EQ(FormatOfFileName("vm.img"), ImageFormat::kRaw);
  EXPECT_EQ(FormatOfFileName("vm.qcow2.img"), ImageFormat::kRaw);
  EXPECT_FALSE(FormatOfFileName("vm.qed"));
  EXPECT_FALSE(FormatOfFileName("vm"));
  EXPECT_FALSE(FormatOfFileName("qcow2"));
  EXPECT_FALSE(FormatOfFileName(""));
}

TEST(NameRulesTest, HiddenFilesAreNoImages) {
  EXPECT_FALSE(FormatOfFileName(".qcow2"));
  EXPECT_FALSE(FormatOfFileName(".vm.qcow2"));
  EXPECT_FALSE(FormatOfFileName(".chainfs"));
}

TEST(NameRulesTest, TheStemIsTheNameWithoutItsImageExtension) {
  EXPECT_EQ(StemOf("vm1.qcow2"), "vm1");
  EXPECT_EQ(StemOf("vm1.2.qcow2"), "vm1.2");
  EXPECT_EQ(StemOf("disk.tar"), "disk.tar");
  EXPECT_EQ(StemOf(".qcow2"), ".qcow2");
}

TEST(NameRulesTest, ChainNamesAreOneVisiblePrintableComponent) {
  EXPECT_TRUE(CheckChainName("vm1"));
  EXPECT_TRUE(CheckChainName("\xc3\xa4 b"));  // a umlaut
  EXPECT_TRUE(CheckChainName(std::string(kMaxChainName, 'a')));
  for (const std::string& bad :
       {std::string(), std::string("a/b"), std::string(".a"), std::string(".."),
        std::string("a\nb"), std::string("a\xff"), std::string("a\0b", 3), std::string("\x7f"),
        std::string(kMaxChainName + 1, 'a')}) {
    const Status checked = CheckChainName(bad);
    ASSERT_FALSE(checked) << EscapeText(bad);
    EXPECT_EQ(checked.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_TRUE(IsPlainText(checked.error().message));
  }
}

TEST(NameRulesTest, EscapingLeavesNothingThatCouldForgeALine) {
  EXPECT_EQ(EscapeText("a\nb\tc\r"), "a\\nb\\tc\\x0d");
  EXPECT_EQ(EscapeText("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(EscapeText("100% \"quoted\" %n%s \\ back"), "100% \"quoted\" %n%s \\ back");
  EXPECT_EQ(EscapeText("gr\xc3\xbc\xc3\x9f"), "gr\xc3\xbc\xc3\x9f");
  EXPECT_EQ(EscapeText("\xf0\x9f\x92\xbe"), "\xf0\x9f\x92\xbe");
}

TEST(NameRulesTest, EscapingShowsWhatIsNotUtf8) {
  EXPECT_EQ(EscapeText("a\xff"), "a\\xff");
  EXPECT_EQ(EscapeText("\xc3"), "\\xc3");                    // cut short
  EXPECT_EQ(EscapeText("\xc0\xaf"), "\\xc0\\xaf");           // overlong '/'
  EXPECT_EQ(EscapeText("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");  // the same in three bytes
  EXPECT_EQ(EscapeText("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(EscapeText("\xf4\x90\x80\x80").find('\xf4'), std::string::npos);
  EXPECT_EQ(EscapeText("\xc2\x85"), "\\xc2\\x85");  // U+0085, next line
}

TEST(NameRulesTest, EscapingTwiceChangesNothing) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string once = EscapeText(all);
  EXPECT_TRUE(IsPlainText(once));
  EXPECT_EQ(EscapeText(once), once);
}

using Names = std::vector<std::string>;

TEST(NameRulesTest, ANameIsTheStem) {
  EXPECT_EQ(AssignNames({{"a.qcow2", {}}, {"b.img", {}}}), (Names{"a", "b"}));
}

TEST(NameRulesTest, CollidingStemsGiveFullNames) {
  EXPECT_EQ(AssignNames({{"a.qcow2", {}}, {"a.raw", {}}, {"b.raw", {}}}),
            (Names{"a.qcow2", "a.raw", "b"}));
}

TEST(NameRulesTest, AFixedNameStaysAndTheOtherGivesWay) {
  EXPECT_EQ(AssignNames({{"vm1.qcow2", {}}, {"vm1.1.qcow2", "vm1"}}), (Names{"vm1.qcow2", "vm1"}));
}

TEST(NameRulesTest, EqualFixedNamesGoToTheFirst) {
  EXPECT_EQ(AssignNames({{"x.qcow2", "vm"}, {"y.qcow2", "vm"}}), (Names{"vm", "y"}));
}

TEST(NameRulesTest, EqualFullNamesAreNumbered) {
  EXPECT_EQ(AssignNames({{"a.raw", {}}, {"a.raw", {}}, {"a.raw", {}}}),
            (Names{"a.raw", "a.raw-2", "a.raw-3"}));
}

TEST(NameRulesTest, AStemThatIsAnothersFullNameGivesWay) {
  // "a.raw" is the stem of the third and the full name of the first.
  const Names names = AssignNames({{"a.raw", {}}, {"a.qcow2", {}}, {"a.raw.img", {}}});
  EXPECT_EQ(names, (Names{"a.raw-2", "a.qcow2", "a.raw"}));
}

}  // namespace
}  // namespace chainfs
