// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/entry_judgement.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kReservedL2Bits = 0x3f000000000001feull;

}  // namespace

std::string_view EntryJudgement::TextOf(Problem problem) {
  switch (problem) {
    case kReservedBits:
      return "reserved bits are set";
    case kCopiedCompressed:
      return "the COPIED flag of a compressed cluster is set";
    case kCompressedSubclusters:
      return "a compressed cluster has subclusters";
    case kContradictorySubclusters:
      return "subclusters have data and read as zeros";
    case kUnalignedCluster:
      return "the cluster is not aligned";
    case kSubclustersWithoutCluster:
      return "subclusters have data, but there is no cluster";
    case kCompressedElsewhere:
      return "a compressed cluster, though the data lies in another file";
    case kZeroFlag:
      return "the zero flag is set, which this image cannot have";
    case kCopiedNothing:
      return "the COPIED flag is set, but there is no cluster";
  }
  return "";
}

namespace {

EntryJudgement JudgeCompressed(const Geometry& geometry, L2Entry entry, bool external) {
  EntryJudgement judgement;
  judgement.compressed = true;
  if ((entry.descriptor & kEntryCopied) != 0) {
    judgement.problems |= EntryJudgement::kCopiedCompressed;
  }
  if (external) {
    judgement.problems |= EntryJudgement::kCompressedElsewhere;
  } else if (entry.bitmap != 0) {
    judgement.problems |= EntryJudgement::kCompressedSubclusters;
  } else {
    const ClusterMapping mapping = geometry.l2().Decode(entry);
    judgement.host = mapping.host;
    judgement.bytes = mapping.compressed_bytes;
    judgement.allocated = true;
  }
  return judgement;
}

}  // namespace

EntryJudgement JudgeEntry(const Geometry& geometry, L2Entry entry, bool external) {
  const uint64_t word = entry.descriptor;
  if ((word & kEntryCompressed) != 0) return JudgeCompressed(geometry, entry, external);
  const auto allocated = static_cast<uint32_t>(entry.bitmap);
  const auto zeroes = static_cast<uint32_t>(entry.bitmap >> kSubclusters);
  EntryJudgement judgement;
  judgement.host = HostOffset(word & kEntryOffsetMask);
  judgement.copied = (word & kEntryCopied) != 0;
  if ((word & kReservedL2Bits) != 0) judgement.problems |= EntryJudgement::kReservedBits;
  if ((word & kEntryZero) != 0 && (geometry.version < 3 || geometry.extended_l2)) {
    judgement.problems |= EntryJudgement::kZeroFlag;
  }
  if (judgement.host.value == 0 && !(external && judgement.copied)) {
    if (judgement.copied) judgement.problems |= EntryJudgement::kCopiedNothing;
    if (allocated != 0) judgement.problems |= EntryJudgement::kSubclustersWithoutCluster;
    return judgement;
  }
  judgement.allocated = true;
  judgement.has_flag = true;
  if ((allocated & zeroes) != 0) judgement.problems |= EntryJudgement::kContradictorySubclusters;
  if (judgement.host.Within(geometry.cluster_size()) != 0) {
    judgement.problems |= EntryJudgement::kUnalignedCluster;
  }
  if (!external) judgement.bytes = geometry.cluster_size();
  return judgement;
}

}  // namespace chainfs::qcow2
