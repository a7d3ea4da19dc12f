// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/l2_codec.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>

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

const L2Codec kExtended(3, 16, true);

L2Entry Entry(uint64_t descriptor, uint32_t allocated, uint32_t zeroes) {
  return {.descriptor = descriptor, .bitmap = uint64_t{zeroes} << 32 | allocated};
}

TEST(L2CodecTest, ExtendedEntriesHaveSixteenBytes) {
  EXPECT_EQ(kExtended.table_bits(), 12u);
  EXPECT_EQ(kExtended.entries_in(4096), 256u);
  const L2Entry entry = Entry(kHost | kEntryCopied, 0x0f, 0x30);
  MetadataSlice slice(512);
  kExtended.Store(slice, 5, entry);
  EXPECT_EQ(kExtended.Load(slice, 5), entry);
  EXPECT_EQ(kExtended.Load(slice, 4), kExtended.Unallocated());
  EXPECT_EQ(kExtended.Load(slice.bytes().data(), 5), entry);
  std::array<std::byte, 64> table = {};
  kExtended.Store(table.data(), 1, entry);
  EXPECT_EQ(table[31], std::byte{0x0f});
  EXPECT_EQ(table[27], std::byte{0x30}) << "the zeros in the upper half";
}

TEST(L2CodecTest, AClusterIsNamedByItsSubclustersWhereTheyAreAlike) {
  const auto kind = [](L2Entry entry) { return kExtended.Decode(entry).kind; };
  EXPECT_EQ(kind(kExtended.Unallocated()), ClusterKind::kUnallocated);
  EXPECT_EQ(kind(kExtended.Zero()), ClusterKind::kZeroPlain);
  EXPECT_EQ(kind(kExtended.Normal(HostOffset(kHost))), ClusterKind::kNormal);
  EXPECT_EQ(kind(kExtended.ZeroAllocated(HostOffset(kHost))), ClusterKind::kZeroAllocated);
  EXPECT_EQ(kind(kExtended.Compressed(HostOffset(kHost), 100)), ClusterKind::kCompressed);
  const ClusterMapping placed = kExtended.Decode(Entry(kHost, 0, 0));
  EXPECT_EQ(placed.kind, ClusterKind::kMixed) << "a place, and nothing in it";
  EXPECT_TRUE(placed.has_cluster());
  EXPECT_EQ(placed.AlikeFrom(0), 32u);
  const ClusterMapping zeros = kExtended.Decode(Entry(0, 0, 1));
  EXPECT_EQ(zeros.kind, ClusterKind::kMixed);
  EXPECT_FALSE(zeros.has_cluster());
}

TEST(L2CodecTest, SubclustersComeInRuns) {
  const ClusterMapping mapping = kExtended.Decode(Entry(kHost | kEntryCopied, 0x8000000f, 0x30));
  ASSERT_EQ(mapping.kind, ClusterKind::kMixed);
  const std::array<std::pair<uint32_t, ClusterKind>, 4> runs = {{{4, ClusterKind::kNormal},
                                                                 {2, ClusterKind::kZeroPlain},
                                                                 {25, ClusterKind::kUnallocated},
                                                                 {1, ClusterKind::kNormal}}};
  uint32_t at = 0;
  for (const auto& [count, kind] : runs) {
    EXPECT_EQ(mapping.KindOf(at), kind);
    EXPECT_EQ(mapping.AlikeFrom(at), count);
    at += count;
  }
  EXPECT_EQ(at, kSubclusters);
  EXPECT_EQ(kExtended.WithSubclusters(mapping), Entry(kHost | kEntryCopied, 0x8000000f, 0x30));
  EXPECT_EQ(SubclusterSet(0, 31), kAllSubclusters);
  EXPECT_EQ(SubclusterSet(4, 5), 0x30u);
}

TEST(L2CodecTest, ContradictionsOfSubclustersAreInvalid) {
  const auto kind = [](L2Entry entry) { return kExtended.Decode(entry).kind; };
  EXPECT_EQ(kind(Entry(kHost, 3, 2)), ClusterKind::kInvalid) << "data and zeros at once";
  EXPECT_EQ(kind(Entry(0, 1, 0)), ClusterKind::kInvalid) << "data nowhere";
  EXPECT_EQ(kind(Entry(kEntryCompressed | kHost, 1, 0)), ClusterKind::kInvalid);
  EXPECT_EQ(kind(Entry(kHost | kEntryZero, 1, 0)), ClusterKind::kInvalid);
  EXPECT_EQ(kind(Entry(kEntryCopied, 0, 1)), ClusterKind::kInvalid);
}

}  // namespace
}  // namespace chainfs::qcow2
