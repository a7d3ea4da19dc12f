// SPDX-License-Identifier: Apache-2.0
//
// What a header should call its backing file: a name that a later reader will find it by.
#include "blocklayer/catalog/backing_names.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class BackingNamesTest : public CatalogTest {
 protected:
  void SetUp() override { ASSERT_TRUE(roots_.Add(dir_.path(), RootUse::kCreate)); }

  FileLocation Location(const std::string& name) {
    const auto location = roots_.Find(At(name));
    EXPECT_TRUE(location) << location.error().message;
    return location.value_or(FileLocation());
  }
  static FileId IdOf(const FileLocation& location) {
    return location.directory->WhereLeads(location.name).value_or(FileId());
  }
  // What an overlay at `overlay` should call `backing`.
  std::string NameFor(const std::string& overlay, const std::string& backing) {
    const FileLocation below = Location(backing);
    const auto reference = names_.For(Location(overlay), below, IdOf(below), ImageFormat::kQcow2);
    return reference ? reference->name : reference.error().message;
  }

  Roots roots_{nullptr};
  LayerPool pool_{std::make_shared<BlockContext>(MemoryLimits()), true};
  BackingNames names_{roots_, {.roots = roots_, .pool = pool_, .rules = {}}};
};

TEST_F(BackingNamesTest, AFileBesideIsNamedByItsName) {
  MakeQcow2("base.qcow2");
  EXPECT_EQ(NameFor("new.qcow2", "base.qcow2"), "base.qcow2");
  MakeQcow2("a:b.qcow2");
  EXPECT_EQ(NameFor("new.qcow2", "a:b.qcow2"), "./a:b.qcow2");
}

TEST_F(BackingNamesTest, WhatOneRootHoldsIsNamedRelatively) {
  std::filesystem::create_directories(At("sub"));
  MakeQcow2("base.qcow2");
  EXPECT_EQ(NameFor("sub/new.qcow2", "base.qcow2"), "../base.qcow2");
}

TEST_F(BackingNamesTest, ThroughALinkTheWholePathIsTheOnlyName) {
  std::filesystem::create_directories(At("data/deep"));
  std::filesystem::create_directory_symlink("data/deep", At("link"));
  MakeQcow2("base.qcow2");
  FileLocation overlay = Location("data/deep/new.qcow2");
  overlay.path = At("link/new.qcow2");
  const FileLocation base = Location("base.qcow2");
  const auto reference = names_.For(overlay, base, IdOf(base), ImageFormat::kQcow2);
  ASSERT_TRUE(reference) << reference.error().message;
  EXPECT_EQ(reference->name, At("base.qcow2"));
}

TEST_F(BackingNamesTest, ANameThatLeadsElsewhereIsRefused) {
  MakeQcow2("base.qcow2");
  MakeQcow2("other.qcow2");
  const FileLocation base = Location("base.qcow2");
  EXPECT_TRUE(BackingNames::Check(Location("new.qcow2"), "base.qcow2", IdOf(base)));
  const Status other = BackingNames::Check(Location("new.qcow2"), "other.qcow2", IdOf(base));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kStale);
  EXPECT_FALSE(BackingNames::Check(Location("new.qcow2"), "gone.qcow2", IdOf(base)));
}

}  // namespace
}  // namespace chainfs
