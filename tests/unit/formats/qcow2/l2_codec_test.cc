// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l2_codec.h"

#include <gtest/gtest.h>

#include <array>

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kHost = 0x123450000;
const L2Codec kV3(3, 16);
const L2Codec kV2(2, 16);

ClusterKind KindOf(const L2Codec& codec, uint64_t descriptor) {
  return codec.Decode({descriptor}).kind;
}

TEST(L2CodecTest, WhatItMakesItReads) {
  EXPECT_EQ(kV3.Decode(kV3.Unallocated()).kind, ClusterKind::kUnallocated);
  EXPECT_EQ(kV3.Decode(kV3.Zero()).kind, ClusterKind::kZeroPlain);
  const ClusterMapping normal = kV3.Decode(kV3.Normal(HostOffset(kHost)));
  EXPECT_EQ(normal.kind, ClusterKind::kNormal);
  EXPECT_EQ(normal.host, HostOffset(kHost));
  EXPECT_TRUE(normal.copied);
  EXPECT_TRUE(normal.has_cluster());
  const ClusterMapping zero = kV3.Decode(kV3.ZeroAllocated(HostOffset(kHost)));
  EXPECT_EQ(zero.kind, ClusterKind::kZeroAllocated);
  EXPECT_EQ(zero.host, HostOffset(kHost));
  EXPECT_TRUE(zero.has_cluster());
  EXPECT_FALSE(kV3.Decode(kV3.WithCopied(kV3.Normal(HostOffset(kHost)), false)).copied);
}

TEST(L2CodecTest, Version2HasNoZeroFlag) {
  EXPECT_EQ(kV2.Zero(), kV2.Unallocated());
  EXPECT_EQ(KindOf(kV2, kEntryZero), ClusterKind::kInvalid);
  EXPECT_EQ(KindOf(kV2, kHost | kEntryZero), ClusterKind::kInvalid);
}

TEST(L2CodecTest, ContradictionsAreInvalid) {
  EXPECT_EQ(KindOf(kV3, kHost | 0x200), ClusterKind::kInvalid) << "not aligned";
  EXPECT_EQ(KindOf(kV3, kEntryCopied), ClusterKind::kInvalid) << "COPIED without a cluster";
  EXPECT_EQ(KindOf(kV3, kEntryCopied | kEntryZero), ClusterKind::kInvalid);
  EXPECT_EQ(KindOf(kV3, kEntryCompressed | kEntryCopied | kHost), ClusterKind::kInvalid);
  EXPECT_EQ(KindOf(kV3, kEntryCompressed | 0x200), ClusterKind::kInvalid) << "in the header";
}

TEST(L2CodecTest, ACompressedEntryCountsSectorsFromItsFirstByte) {
  // 64 KiB clusters: x = 54.
  const uint64_t at = kHost + 0x1f0;
  const ClusterMapping mapping = kV3.Decode({kEntryCompressed | uint64_t{3} << 54 | at});
  EXPECT_EQ(mapping.kind, ClusterKind::kCompressed);
  EXPECT_EQ(mapping.host, HostOffset(at));
  EXPECT_EQ(mapping.compressed_bytes, 4 * 512 - 0x1f0u);
  EXPECT_FALSE(mapping.copied);
  EXPECT_FALSE(mapping.has_cluster());
}

TEST(L2CodecTest, TheSmallestAndTheLargestClusters) {
  for (const uint32_t bits : {9u, 21u}) {
    const L2Codec codec(3, bits);
    EXPECT_EQ(codec.table_bits(), bits - 3);
    EXPECT_EQ(codec.entries_in(1ull << bits), 1ull << codec.table_bits());
    const HostOffset host(7ull << bits);
    EXPECT_EQ(codec.Decode(codec.Normal(host)).host, host);
    EXPECT_EQ(codec.Decode(codec.Normal(host + 512)).kind,
              bits == 9 ? ClusterKind::kNormal : ClusterKind::kInvalid);
  }
}

TEST(L2CodecTest, SlicesAndBytesHoldTheSame) {
  MetadataSlice slice(512);
  kV3.Store(slice, 5, kV3.Normal(HostOffset(kHost)));
  EXPECT_EQ(kV3.Load(slice, 5), kV3.Normal(HostOffset(kHost)));
  EXPECT_EQ(kV3.Load(slice, 4), kV3.Unallocated());
  EXPECT_EQ(kV3.Load(slice.bytes().data(), 5), kV3.Load(slice, 5));
  std::array<std::byte, 64> table = {};
  kV3.Store(table.data(), 1, kV3.Zero());
  EXPECT_EQ(table[15], std::byte{1}) << "big-endian";
  EXPECT_EQ(kV3.Load(table.data(), 1), kV3.Zero());
}

TEST(L2CodecTest, CompressedEntriesCountWholeSectors) {
  for (const uint32_t bits : {9u, 16u, 21u}) {
    const L2Codec codec(3, bits);
    const uint64_t cluster = 1ull << bits;
    for (const uint64_t host :
         {cluster, cluster + 1, 2 * cluster - 1, codec.compressed_end() - 1}) {
      for (const uint64_t bytes : {uint64_t{1}, uint64_t{511}, cluster - 1}) {
        const ClusterMapping mapping = codec.Decode(codec.Compressed(HostOffset(host), bytes));
        EXPECT_EQ(mapping.kind, ClusterKind::kCompressed);
        EXPECT_FALSE(mapping.copied);
        EXPECT_EQ(mapping.host, HostOffset(host));
        EXPECT_GE(mapping.compressed_bytes, bytes);
        EXPECT_LT(mapping.compressed_bytes, bytes + 512);
        EXPECT_EQ((host + mapping.compressed_bytes) % 512, 0u);
      }
    }
  }
}

}  // namespace
}  // namespace chainfs::qcow2
