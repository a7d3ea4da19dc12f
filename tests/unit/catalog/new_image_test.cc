// SPDX-License-Identifier: Apache-2.0
//
// Where the target of a job may go, and what its header is to name.
#include "blocklayer/catalog/new_image.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class NewImageTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("base.qcow2");
    MakeOverlay("vm.qcow2", "base.qcow2");
    ASSERT_TRUE(OpenAll());
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  void TearDown() override { disk_.reset(); }
  ErrorKind Kind(const NewImageRequest& request) {
    const auto plan = catalog_->new_images().Plan(disk_, request);
    return plan ? ErrorKind::kCancelled : plan.error().kind;
  }

  DiskPtr disk_;
};

TEST_F(NewImageTest, LiesWhereItIsSaidFromTheActiveLayer) {
  std::filesystem::create_directory(At("sub"));
  const auto plan = catalog_->new_images().Plan(disk_, {.name = "sub/new.qcow2"});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->location.path, At("sub/new.qcow2"));
  EXPECT_EQ(plan->location.name, "new.qcow2");
  EXPECT_FALSE(plan->backing);
}

TEST_F(NewImageTest, NamesWhatItIsBuiltOnAsALaterReaderFindsIt) {
  std::filesystem::create_directory(At("sub"));
  const LayerPtr base = disk_->chain()->below->layers().front();
  const auto beside = catalog_->new_images().Plan(disk_, {.name = "new.qcow2", .backing = base});
  ASSERT_TRUE(beside) << beside.error().message;
  EXPECT_EQ(*beside->backing, (BackingReference{.name = "base.qcow2", .format = "qcow2"}));
  const auto below = catalog_->new_images().Plan(disk_, {.name = "sub/new.qcow2", .backing = base});
  ASSERT_TRUE(below) << below.error().message;
  EXPECT_EQ(below->backing->name, "../base.qcow2");
  std::filesystem::rename(At("base.qcow2"), At("other.qcow2"));
  EXPECT_EQ(Kind({.name = "new.qcow2", .backing = base}), ErrorKind::kStale);
}

TEST_F(NewImageTest, IsRefusedWhereItMayNotBe) {
  EXPECT_EQ(Kind({.name = "base.qcow2"}), ErrorKind::kExists);
  EXPECT_EQ(Kind({.name = "base.qcow2", .may_exist = true}), ErrorKind::kCancelled);
  EXPECT_EQ(Kind({.name = "new.raw"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Kind({.name = "new.qcow2", .format = ImageFormat::kRaw}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Kind({.name = "new.raw", .format = ImageFormat::kRaw}), ErrorKind::kCancelled);
  EXPECT_EQ(Kind({.name = "missing/new.qcow2"}), ErrorKind::kNotFound);
  EXPECT_EQ(Kind({.name = ""}), ErrorKind::kInvalidArgument);
  const TempDir elsewhere;
  EXPECT_EQ(Kind({.name = elsewhere / "new.qcow2"}), ErrorKind::kAccess);
  EXPECT_EQ(Kind({.name = elsewhere / "new.qcow2", .anywhere = true}), ErrorKind::kCancelled);
}

}  // namespace
}  // namespace chainfs
