// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/compressed_packing.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

using Numbers = std::vector<uint64_t>;

constexpr Geometry kGeometry{.version = 3, .cluster_bits = 9, .refcount_order = 4};
const std::vector<std::byte> kBytes(511);

std::vector<CompressedCluster> OfSizes(const Numbers& sizes) {
  std::vector<CompressedCluster> clusters;
  for (const uint64_t size : sizes) {
    clusters.push_back({GuestOffset(clusters.size() * 512), std::span(kBytes).first(size)});
  }
  return clusters;
}

TEST(CompressedPackingTest, OneBehindTheOther) {
  const auto packing = CompressedPacking::Make(kGeometry, OfSizes({100, 300, 200, 511, 1}), 3);
  EXPECT_EQ(packing.offsets, (Numbers{0, 100, 400, 600, 1111}));
  EXPECT_EQ(packing.users, (Numbers{3, 2, 2}));
  EXPECT_EQ(packing.bytes, 1112u);
}

TEST(CompressedPackingTest, AsManyAsFit) {
  const auto packing = CompressedPacking::Make(kGeometry, OfSizes({511, 511, 511}), 2);
  EXPECT_EQ(packing.offsets, (Numbers{0, 511}));
  EXPECT_EQ(packing.users, (Numbers{2, 1}));
  const auto one = CompressedPacking::Make(kGeometry, OfSizes({511}), 1);
  EXPECT_EQ(one.offsets, Numbers{0});
  EXPECT_EQ(one.users, Numbers{1});
}

TEST(CompressedPackingTest, UsesNoMoreThanItNeeds) {
  const auto packing = CompressedPacking::Make(kGeometry, OfSizes({100, 100}), 9);
  EXPECT_EQ(packing.users, Numbers{2});
}

// A refcount of one bit cannot say "two".
TEST(CompressedPackingTest, NoHostClusterHasMoreUsersThanItsRefcountCanSay) {
  constexpr Geometry kOneBit{.version = 3, .cluster_bits = 9, .refcount_order = 0};
  const auto one = CompressedPacking::Make(kOneBit, OfSizes({100, 100, 511}), 9);
  EXPECT_EQ(one.offsets, (Numbers{0, 512, 1024}));
  EXPECT_EQ(one.users, (Numbers{1, 1, 1}));
  constexpr Geometry kTwoBits{.version = 3, .cluster_bits = 9, .refcount_order = 1};
  const auto two = CompressedPacking::Make(kTwoBits, OfSizes({100, 100, 100, 100, 100}), 9);
  EXPECT_EQ(two.offsets, (Numbers{0, 100, 200, 512, 612}));
}

TEST(CompressedPackingTest, TouchesWhatItsSectorsTouch) {
  const auto inside = TouchedBy(kGeometry, HostOffset(1024), 512);
  EXPECT_EQ(inside.first, 2u);
  EXPECT_EQ(inside.count, 1u);
  EXPECT_EQ(TouchedBy(kGeometry, HostOffset(1025), 512).count, 2u);
}

}  // namespace
}  // namespace chainfs::qcow2
