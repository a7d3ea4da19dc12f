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

TEST_F(LayerLeasesTest, TheBaseOfACommitMayBeWrittenByNobodyElse) {
  const Result<LayerLease> lease = catalog_->leases().Take(mid_, LeaseKind::kCommitBase);
  ASSERT_TRUE(lease) << lease.error().message;
  EXPECT_TRUE(mid_->image->writable());
  EXPECT_FALSE(OthersMayRead());
}

TEST_F(LayerLeasesTest, WhatLiesBetweenTheEndsOfACommitIsReadByNobodyElseAndNotOpenedForWriting) {
  // Even whoever shares everything.
  const auto forced = [&] { return RunCommand({"qemu-img", "map", "-U", At("mid.qcow2")}).ok(); };
  EXPECT_TRUE(forced());
  {
    const Result<LayerLease> lease = catalog_->leases().Take(mid_, LeaseKind::kCommitMiddle);
    ASSERT_TRUE(lease) << lease.error().message;
    EXPECT_FALSE(mid_->image->writable());
    EXPECT_FALSE(OthersMayRead());
    EXPECT_FALSE(forced());
  }
  EXPECT_TRUE(OthersMayRead());
  EXPECT_TRUE(forced());
}

TEST_F(LayerLeasesTest, LeasesOfSeveralKindsAddUp) {
  std::optional<Result<LayerLease>> middle =
      catalog_->leases().Take(mid_, LeaseKind::kCommitMiddle);
  std::optional<Result<LayerLease>> fill = catalog_->leases().Take(mid_, LeaseKind::kFill);
  ASSERT_TRUE(*middle && *fill);
  fill.reset();
  EXPECT_FALSE(RunCommand({"qemu-img", "map", "-U", At("mid.qcow2")}).ok());
  fill.emplace(catalog_->leases().Take(mid_, LeaseKind::kFill));
  middle.reset();
  EXPECT_TRUE(RunCommand({"qemu-img", "map", "-U", At("mid.qcow2")}).ok());
  EXPECT_FALSE(OthersMayRead());
}

}  // namespace
}  // namespace chainfs
