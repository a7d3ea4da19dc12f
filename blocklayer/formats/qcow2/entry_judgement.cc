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
    case kZeroFlag:
      return "the zero flag is set, which this image cannot have";
    case kCopiedNothing:
      return "the COPIED flag is set, but there is no cluster";
  }
  return "";
}

EntryJudgement JudgeEntry(const Geometry& geometry, L2Entry entry) {
  using Judgement = EntryJudgement;
  const uint64_t word = entry.descriptor;
  const auto allocated = static_cast<uint32_t>(entry.bitmap);
  const auto zeroes = static_cast<uint32_t>(entry.bitmap >> kSubclusters);
  Judgement judgement;
  if ((word & kEntryCompressed) != 0) {
    const ClusterMapping mapping = geometry.l2().Decode(entry);
    if ((word & kEntryCopied) != 0) judgement.problems |= Judgement::kCopiedCompressed;
    if (entry.bitmap != 0) judgement.problems |= Judgement::kCompressedSubclusters;
    judgement.compressed = true;
    judgement.host = mapping.host;
    judgement.bytes = entry.bitmap == 0 ? mapping.compressed_bytes : 0;
    return judgement;
  }
  judgement.host = HostOffset(word & kEntryOffsetMask);
  judgement.copied = (word & kEntryCopied) != 0;
  if ((word & kReservedL2Bits) != 0) judgement.problems |= Judgement::kReservedBits;
  if ((word & kEntryZero) != 0 && (geometry.version < 3 || geometry.extended_l2)) {
    judgement.problems |= Judgement::kZeroFlag;
  }
  if (judgement.host.value == 0) {
    if (judgement.copied) judgement.problems |= Judgement::kCopiedNothing;
    if (allocated != 0) judgement.problems |= Judgement::kSubclustersWithoutCluster;
    return judgement;
  }
  judgement.has_flag = true;
  if ((allocated & zeroes) != 0) {
    judgement.problems |= Judgement::kContradictorySubclusters;
  }
  if (judgement.host.Within(geometry.cluster_size()) != 0) {
    judgement.problems |= Judgement::kUnalignedCluster;
  }
  judgement.bytes = geometry.cluster_size();
  return judgement;
}

}  // namespace chainfs::qcow2
