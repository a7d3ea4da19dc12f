// SPDX-License-Identifier: Apache-2.0
//
// The locks of a layer that a job fills: taken by a lease, given back when the last one goes.
#include "blocklayer/catalog/layer_leases.h"

#include <optional>
#include <utility>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class LayerLeasesTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("base.qcow2");
    MakeOverlay("mid.qcow2", "base.qcow2");
    MakeOverlay("vm.qcow2", "mid.qcow2");
    ASSERT_TRUE(OpenAll());
    mid_ = catalog_->Find("vm")->chain()->AllLayers().at(1);
  }
  void TearDown() override { mid_ = nullptr; }

  // qemu-img takes the locks of a reader.
  bool OthersMayRead() const {
    return RunCommand({"qemu-img", "check", "-q", At("mid.qcow2")}).ok();
  }

  LayerPtr mid_;
};

TEST_F(LayerLeasesTest, ALeaseKeepsOthersAwayUntilItGoes) {
  EXPECT_TRUE(OthersMayRead());
  {
    const Result<LayerLease> lease = catalog_->leases().Take(mid_);
    ASSERT_TRUE(lease) << lease.error().message;
    EXPECT_TRUE(mid_->image->writable());
    EXPECT_FALSE(OthersMayRead());
  }
  EXPECT_TRUE(OthersMayRead());
}

TEST_F(LayerLeasesTest, LeasesNest) {
  std::optional<Result<LayerLease>> first = catalog_->leases().Take(mid_);
  std::optional<Result<LayerLease>> second = catalog_->leases().Take(mid_);
  ASSERT_TRUE(*first && *second);
  first.reset();
  EXPECT_FALSE(OthersMayRead());
  second.reset();
  EXPECT_TRUE(OthersMayRead());
}

TEST_F(LayerLeasesTest, ALeaseThatWasMovedIsGivenBackOnce) {
  Result<LayerLease> taken = catalog_->leases().Take(mid_);
  ASSERT_TRUE(taken);
  const Result<LayerLease> other = catalog_->leases().Take(mid_);
  {
    const LayerLease moved = *std::move(taken);
    EXPECT_FALSE(OthersMayRead());
  }
  EXPECT_FALSE(OthersMayRead()) << "the other lease lives";
}

}  // namespace
}  // namespace chainfs
