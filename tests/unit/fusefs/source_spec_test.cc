// SPDX-License-Identifier: Apache-2.0
#include "fusefs/source_spec.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {
namespace {

TEST(SourceSpec, PlainPath) {
  const auto spec = ParseSource("img/vm.qcow2", "/work");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->path, "/work/img/vm.qcow2");
  EXPECT_EQ(spec->name, std::nullopt);
  EXPECT_EQ(spec->format, std::nullopt);
}

TEST(SourceSpec, NameAndFormat) {
  const auto spec = ParseSource("vm1=/img/odd,name.bin,format=qcow2", "/work");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->name, "vm1");
  EXPECT_EQ(spec->path, "/img/odd,name.bin");
  EXPECT_EQ(spec->format, ImageFormat::kQcow2);
}

TEST(SourceSpec, AnEqualsSignAfterASlashBelongsToThePath) {
  const auto spec = ParseSource("/img/a=b.qcow2", "/work");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->name, std::nullopt);
  EXPECT_EQ(spec->path, "/img/a=b.qcow2");
}

TEST(SourceSpec, AFileThatExistsIsTakenAsWritten) {
  const TempDir dir;
  WriteTextFile(dir / "a=b,format=raw", "");
  const auto spec = ParseSource("a=b,format=raw", dir.path());
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->path, dir / "a=b,format=raw");
  EXPECT_EQ(spec->format, std::nullopt);
}

TEST(SourceSpec, RefusesWhatIsNoSource) {
  for (const char* text : {"", "vm1=", "=x", "..=x", "x,format=qed", ",format=raw", "a\nb=x"}) {
    const auto spec = ParseSource(text, "/work");
    ASSERT_FALSE(spec) << text;
    EXPECT_EQ(spec.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(SourceSpec, PathsAreMadePlain) {
  EXPECT_EQ(AbsolutePath("a//b/./c/", "/w"), "/w/a/b/c");
  EXPECT_EQ(AbsolutePath("/", "/w"), "/");
  EXPECT_EQ(AbsolutePath(".", "/w"), "/w");
}

// "srv/link/../base" is beside what the link leads to.
TEST(SourceSpec, NamesAreWalkedAsTheKernelWalksThem) {
  const TempDir temp;
  const std::string real = std::filesystem::canonical(temp.path()).string();
  std::filesystem::create_directories(temp / "data/imgs");
  std::filesystem::create_directories(temp / "srv/sub");
  std::filesystem::create_symlink("../data/imgs", temp / "srv/link");
  std::filesystem::create_symlink("nowhere", temp / "data/last");
  EXPECT_EQ(AbsolutePath("srv/link/../base", temp.path()), real + "/data/base");
  EXPECT_EQ(AbsolutePath("srv/link/..", temp.path()), real + "/data");
  EXPECT_EQ(AbsolutePath("link/../last/", temp / "srv"), real + "/data/last");
  EXPECT_EQ(AbsolutePath("srv/sub/../../x", temp.path()), real + "/x");
  EXPECT_EQ(AbsolutePath("srv/link", temp.path()), temp / "srv/link");
  EXPECT_EQ(AbsolutePath("none/../x", temp.path()), temp / "none/../x");
  WriteTextFile(temp / "data/base.qcow2", "");
  const auto spec = ParseSource("vm=srv/link/../base.qcow2", temp.path());
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->path, real + "/data/base.qcow2");
}

}  // namespace
}  // namespace chainfs::fusefs
