// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/geometry.h"

#include <gtest/gtest.h>

#include <vector>

namespace chainfs::qcow2 {
namespace {

Geometry Of(uint32_t cluster_bits, uint32_t refcount_order = 4) {
  return {.version = 3, .cluster_bits = cluster_bits, .refcount_order = refcount_order};
}

TEST(GeometryTest, AnOffsetSelectsItsEntries) {
  const Geometry geometry = Of(16);
  EXPECT_EQ(geometry.l2_span(), 512u << 20);
  const GuestOffset guest((3ull << 29) + (700ull << 16) + 5);
  EXPECT_EQ(geometry.L1Index(guest), 3u);
  EXPECT_EQ(geometry.L2Index(guest), 700u);
  EXPECT_EQ(geometry.L2SliceOffset(guest), 4096u) << "512 entries per slice";
  EXPECT_EQ(geometry.IndexInL2Slice(guest), 700u - 512u);
  EXPECT_EQ(geometry.l2_slice_span(), 512u << 16);
  EXPECT_EQ(geometry.L1EntriesFor(1), 1u);
  EXPECT_EQ(geometry.L1EntriesFor(geometry.l2_span() + 1), 2u);
}

TEST(GeometryTest, ASmallClusterIsOneSlice) {
  const Geometry geometry = Of(9);
  EXPECT_EQ(geometry.slice_bytes(), 512u);
  const GuestOffset last(geometry.l2_span() - 1);
  EXPECT_EQ(geometry.L2SliceOffset(last), 0u);
  EXPECT_EQ(geometry.IndexInL2Slice(last), 63u);
}

TEST(GeometryTest, RefcountsOfEveryWidthStayApart) {
  for (uint32_t order = 0; order <= 6; ++order) {
    const Geometry geometry = Of(9, order);
    EXPECT_EQ(geometry.refblock_entries(), 4096u >> order);
    std::vector<std::byte> block(512);
    const uint64_t most = geometry.max_refcount();
    StoreRefcount(block.data(), 6, order, 1);
    StoreRefcount(block.data(), 7, order, most);
    StoreRefcount(block.data(), 9, order, most);
    EXPECT_EQ(LoadRefcount(block.data(), 5, order), 0u) << order;
    EXPECT_EQ(LoadRefcount(block.data(), 6, order), 1u) << order;
    EXPECT_EQ(LoadRefcount(block.data(), 7, order), most) << order;
    EXPECT_EQ(LoadRefcount(block.data(), 8, order), 0u) << order;
    StoreRefcount(block.data(), 7, order, 0);
    EXPECT_EQ(LoadRefcount(block.data(), 6, order), 1u) << order;
    EXPECT_EQ(LoadRefcount(block.data(), 7, order), 0u) << order;
    EXPECT_EQ(LoadRefcount(block.data(), 9, order), most) << order;
  }
}

TEST(GeometryTest, NarrowRefcountsFillAByteFromItsLowBits) {
  std::vector<std::byte> block(512);
  StoreRefcount(block.data(), 1, 0, 1);
  EXPECT_EQ(block[0], std::byte{2});
  StoreRefcount(block.data(), 3, 1, 2);
  EXPECT_EQ(block[0], std::byte{2 | 0x80});
}

}  // namespace
}  // namespace chainfs::qcow2
