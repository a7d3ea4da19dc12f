// SPDX-License-Identifier: Apache-2.0
//
// Where a file may lie that a command names and that is no image.
#include "blocklayer/catalog/user_files.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class UserFilesTest : public CatalogTest {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(At("images"));
    MakeQcow2("images/vm.qcow2");
    ASSERT_TRUE(Open({{.path = At("images"), .name = {}, .format = {}}}));
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  void TearDown() override { disk_.reset(); }
  static ErrorKind KindOf(const Result<FileLocation>& found) {
    return found ? ErrorKind::kCancelled : found.error().kind;
  }
  ErrorKind ForNew(const std::string& name, bool anywhere = false) {
    return KindOf(catalog_->user_files().ForNew(disk_, name, anywhere));
  }
  ErrorKind Find(const std::string& name, bool anywhere = false) {
    return KindOf(catalog_->user_files().Find(disk_, name, anywhere));
  }

  DiskPtr disk_;
};

TEST_F(UserFilesTest, ANewOneLiesWhereItIsSaid) {
  for (const std::string& name : {std::string("vm.trace"), At("images/vm.trace")}) {
    const auto place = catalog_->user_files().ForNew(disk_, name, false);
    ASSERT_TRUE(place) << place.error().message;
    EXPECT_EQ(place->path, At("images/vm.trace"));
    EXPECT_EQ(place->name, "vm.trace");
    EXPECT_TRUE(place->directory->Create(place->name, 0600));
    EXPECT_EQ(ForNew(name), ErrorKind::kExists);
    EXPECT_EQ(Find(name), ErrorKind::kCancelled);
    EXPECT_TRUE(place->directory->Remove(place->name));
  }
}

TEST_F(UserFilesTest, ANewOneTakesNoNameThatAnImageMayHave) {
  EXPECT_EQ(ForNew("vm.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew("new.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew("new.raw"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew("new.img", true), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew(""), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew(".."), ErrorKind::kInvalidArgument);
  EXPECT_EQ(ForNew("a\nb"), ErrorKind::kInvalidArgument);
  std::filesystem::create_directory(At("images/.chainfs"));
  EXPECT_EQ(ForNew(".chainfs/new", true), ErrorKind::kInvalidArgument);
  // A link that leads nowhere: it is not followed.
  std::filesystem::create_symlink("nowhere", At("images/link"));
  const auto link = catalog_->user_files().ForNew(disk_, "link", false);
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ(link->directory->Create("link", 0600).error().kind, ErrorKind::kExists);
}

TEST_F(UserFilesTest, OutsideTheSourcesOnlyWhereAnywhereIsMeant) {
  std::filesystem::create_symlink(dir_.path(), At("images/up"));
  for (const std::string& name :
       {At("vm.trace"), std::string("../vm.trace"), std::string("up/vm.trace")}) {
    EXPECT_EQ(ForNew(name), ErrorKind::kAccess) << name;
    EXPECT_EQ(Find(name), ErrorKind::kAccess) << name;
    EXPECT_EQ(ForNew(name, true), ErrorKind::kCancelled) << name;
    EXPECT_EQ(Find(name, true), ErrorKind::kCancelled) << name;
  }
  EXPECT_EQ(ForNew("missing/vm.trace"), ErrorKind::kNotFound);
  EXPECT_EQ(Find("missing/vm.trace"), ErrorKind::kNotFound);
}

TEST_F(UserFilesTest, ADiskThatHasGoneHasNoPlace) {
  std::filesystem::remove(At("images/vm.qcow2"));
  RescanTwice();
  EXPECT_EQ(ForNew("vm.trace"), ErrorKind::kNotFound);
  EXPECT_EQ(Find("vm.trace"), ErrorKind::kNotFound);
}

}  // namespace
}  // namespace chainfs
