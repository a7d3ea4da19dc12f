// SPDX-License-Identifier: Apache-2.0
//
// What changed of a disk since one of its layers froze.
#include "ctl/control/changed_since.h"

#include <nlohmann/json.hpp>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs::control {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kCluster = 65536;

class ChangedSinceTest : public CatalogTest {
 protected:
  static std::string TextOf(const ChangedSince& changed) {
    const auto stream = changed.Stream();
    std::string text;
    for (;;) {
      const auto piece = stream->Read(text.size(), 4096);
      EXPECT_TRUE(piece) << piece.error().message;
      if (!piece || piece->empty()) return text;
      text += *piece;
    }
  }
  static Json Of(const DiskPtr& disk, const std::string& layer = "") {
    const auto changed = ChangedSince::Of(disk, layer);
    EXPECT_TRUE(changed) << changed.error().message;
    return changed ? Json::parse(TextOf(*changed)) : Json();
  }
  static Json Range(uint64_t start, uint64_t length, bool zero = false) {
    return {{"start", start * kCluster}, {"length", length * kCluster}, {"zero", zero}};
  }
};

TEST_F(ChangedSinceTest, TellsWhatTheLayersAboveHave) {
  MakeQcow2("base.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr disk = catalog_->Find("base");
  Fill(disk, 0, 4 * kCluster, 'a');
  ASSERT_TRUE(catalog_->Snapshot(disk, {.target = "mid.qcow2"}));
  Fill(disk, 1 * kCluster, kCluster, 'b');
  ASSERT_TRUE(disk->WriteZeroes(GuestOffset(2 * kCluster), kCluster, false));
  ASSERT_TRUE(catalog_->Snapshot(disk, {.target = "top.qcow2"}));
  Fill(disk, 8 * kCluster, 2 * kCluster, 'c');

  Json json = Of(disk);
  EXPECT_EQ(json["disk"], "base");
  EXPECT_EQ(json["since"], At("mid.qcow2"));
  EXPECT_EQ(json["virtual-size"], kSize);
  EXPECT_EQ(json["since-virtual-size"], kSize);
  EXPECT_EQ(json["ranges"], Json::array({Range(8, 2)}));

  json = Of(disk, "base.qcow2");
  EXPECT_EQ(json["since"], At("base.qcow2"));
  EXPECT_EQ(json["ranges"], Json::array({Range(1, 1), Range(2, 1, true), Range(8, 2)}));
  // What was active is a disk of its own.
  EXPECT_EQ(Of(catalog_->Find("mid"))["ranges"], Json::array({Range(1, 1), Range(2, 1, true)}));
}

TEST_F(ChangedSinceTest, ADiskOfOneLayerTellsWhatItHas) {
  MakeQcow2("one.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr disk = catalog_->Find("one");
  EXPECT_EQ(Of(disk)["ranges"], Json::array());
  Fill(disk, 3 * kCluster, kCluster, 'a');
  const Json json = Of(disk);
  EXPECT_TRUE(json["since"].is_null());
  EXPECT_FALSE(json.contains("since-virtual-size"));
  EXPECT_EQ(json["ranges"], Json::array({Range(3, 1)}));
}

TEST_F(ChangedSinceTest, RefusesWhatIsNoFrozenLayer) {
  MakeQcow2("base.qcow2");
  MakeOverlay("vm.qcow2", "base.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr disk = catalog_->Find("vm");
  EXPECT_EQ(ChangedSince::Of(disk, "vm.qcow2").error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(ChangedSince::Of(disk, "other").error().kind, ErrorKind::kNotFound);
  // It held nobody's stack meanwhile.
  EXPECT_TRUE(ChangedSince::Of(disk, "base.qcow2"));
}

TEST_F(ChangedSinceTest, EndsWhenTheLayerLeavesTheChain) {
  MakeQcow2("base.qcow2");
  MakeOverlay("mid.qcow2", "base.qcow2");
  MakeOverlay("vm.qcow2", "mid.qcow2");
  ASSERT_TRUE(OpenAll());
  const DiskPtr disk = catalog_->Find("vm");
  const LayerPtr base = disk->chain()->below->layers()[1];
  const auto changed = ChangedSince::Of(disk, "mid.qcow2");
  ASSERT_TRUE(changed);
  const auto stream = changed->Stream();
  catalog_->DropLayersBetween(disk->chain()->active, base);
  EXPECT_EQ(stream->Read(0, 4096).error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace chainfs::control
