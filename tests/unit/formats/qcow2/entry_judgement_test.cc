// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/entry_judgement.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

using Judgement = EntryJudgement;

constexpr Geometry kPlain{.version = 3, .cluster_bits = 16, .refcount_order = 4};
constexpr Geometry kExtended{
    .version = 3, .cluster_bits = 16, .refcount_order = 4, .extended_l2 = true};

EntryJudgement Judge(uint64_t word, const Geometry& geometry = kPlain, uint64_t bitmap = 0) {
  return JudgeEntry(geometry, {.descriptor = word, .bitmap = bitmap});
}

TEST(EntryJudgement, SoundEntries) {
  EXPECT_EQ(Judge(0).problems, 0U);
  EXPECT_FALSE(Judge(0).allocated);
  EXPECT_EQ(Judge(kEntryZero).bytes, 0U);
  const Judgement data = Judge(0x50000 | kEntryCopied);
  EXPECT_EQ(data.problems, 0U);
  EXPECT_EQ(data.host, HostOffset(0x50000));
  EXPECT_EQ(data.bytes, 0x10000U);
  EXPECT_TRUE(data.has_flag && data.copied && data.allocated);
  const Judgement compressed = Judge(kEntryCompressed | 0x50123);
  EXPECT_EQ(compressed.problems, 0U);
  EXPECT_TRUE(compressed.compressed && !compressed.has_flag);
  EXPECT_EQ(compressed.bytes, 512U - 0x123);
  EXPECT_EQ(Judge(0x50000, kExtended, 0xf).problems, 0U);
}

TEST(EntryJudgement, BadEntriesReferAllTheSame) {
  EXPECT_EQ(Judge(0x50000 | 1 << 5).problems, Judgement::kReservedBits);
  const Judgement unaligned = Judge(0x50200);
  EXPECT_EQ(unaligned.problems, Judgement::kUnalignedCluster);
  EXPECT_EQ(unaligned.host, HostOffset(0x50200));
  EXPECT_EQ(unaligned.bytes, 0x10000U);
  EXPECT_EQ(Judge(kEntryCompressed | kEntryCopied | 0x50000).problems,
            Judgement::kCopiedCompressed);
  EXPECT_EQ(Judge(0x50200 | 1 << 5).problems,
            Judgement::kReservedBits | Judgement::kUnalignedCluster);
}

TEST(EntryJudgement, Subclusters) {
  EXPECT_EQ(Judge(0x50000, kExtended, uint64_t{1} << 32 | 1).problems,
            Judgement::kContradictorySubclusters);
  EXPECT_EQ(Judge(0, kExtended, 1).problems, Judgement::kSubclustersWithoutCluster);
  EXPECT_EQ(Judge(kEntryCompressed | 0x50000, kExtended, 1).problems,
            Judgement::kCompressedSubclusters);
}

TEST(EntryJudgement, WhatQemuOverlooks) {
  EXPECT_EQ(Judge(kEntryCopied).problems, Judgement::kCopiedNothing);
  EXPECT_EQ(Judge(0x50000 | kEntryZero, kExtended, 1).problems, Judgement::kZeroFlag);
  Geometry old = kPlain;
  old.version = 2;
  EXPECT_EQ(Judge(kEntryZero, old).problems, Judgement::kZeroFlag);
  EXPECT_EQ(Judge(kEntryZero).problems, 0U);
}

TEST(EntryJudgement, ExternalData) {
  const auto judge = [](uint64_t word) {
    return JudgeEntry(kPlain, {.descriptor = word, .bitmap = 0}, true);
  };
  // The first cluster of the data file.
  EXPECT_EQ(judge(kEntryCopied).problems, 0U);
  EXPECT_TRUE(judge(kEntryCopied).allocated && judge(kEntryCopied).has_flag);
  EXPECT_EQ(judge(kEntryCopied | 0x50000).bytes, 0U);
  EXPECT_FALSE(judge(0).allocated);
  EXPECT_EQ(judge(kEntryCompressed | 0x50000).problems, Judgement::kCompressedElsewhere);
}

TEST(EntryJudgement, EachProblemHasItsWords) {
  for (uint32_t bit = 0; bit <= 8; ++bit) {
    EXPECT_NE(Judgement::TextOf(static_cast<Judgement::Problem>(1U << bit)), "") << bit;
  }
}

}  // namespace
}  // namespace chainfs::qcow2
