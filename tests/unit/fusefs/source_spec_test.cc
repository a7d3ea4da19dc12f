// SPDX-License-Identifier: Apache-2.0
#include "fusefs/source_spec.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace chainfs {
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
  for (const char* text : {"", "vm1=", "=x", "..=x", "x,format=vmdk", ",format=raw", "a\nb=x"}) {
    const auto spec = ParseSource(text, "/work");
    ASSERT_FALSE(spec) << text;
    EXPECT_EQ(spec.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(SourceSpec, PathsAreMadePlain) {
  EXPECT_EQ(AbsolutePath("a//b/../c/", "/w"), "/w/a/c");
  EXPECT_EQ(AbsolutePath("/", "/w"), "/");
  EXPECT_EQ(AbsolutePath(".", "/w"), "/w");
}

}  // namespace
}  // namespace chainfs
