// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/piece_cutter.h"

#include <algorithm>

namespace chainfs::jobs {
namespace {

bool Extends(const CopyPiece& piece, const CopyPiece& next) {
  if (piece.action != next.action || piece.end != next.begin) return false;
  return piece.action != CopyAction::kShare ||
         (piece.layer == next.layer && piece.source == next.source &&
          next.host == piece.host + piece.length());
}

}  // namespace

void PieceCutter::Append(std::vector<CopyPiece>& pieces, const CopyPiece& piece) {
  if (!pieces.empty() && Extends(pieces.back(), piece)) {
    pieces.back().end = piece.end;
  } else {
    pieces.push_back(piece);
  }
}

Result<std::vector<PieceCutter::Segment>> PieceCutter::SegmentsOf(const CopySource::View& source,
                                                                  CopyRange range) {
  std::vector<Segment> segments;
  while (range.begin < range.end) {
    CHAINFS_ASSIGN(const StackExtent extent,
                   source.Map(GuestOffset(range.begin), range.end - range.begin));
    const uint64_t stop = range.begin + std::min(extent.length, range.end - range.begin);
    segments.push_back({range.begin, stop, extent});
    range.begin = stop;
  }
  return segments;
}

bool PieceCutter::Owned(const StackExtent& extent) const {
  return selection_.layers == CopySelection::kAllLayers ||
         (extent.kind != ExtentKind::kUnallocated && extent.layer < selection_.layers);
}

// What to do with the one cluster [begin, end); `first` is the segment that holds its first byte.
CopyPiece PieceCutter::ClusterPiece(const Segment* first, uint64_t begin, uint64_t end) const {
  bool data_owned = false;
  bool zeros_owned = false;
  bool data_anywhere = false;
  const Segment* segment = first;
  for (uint64_t at = begin; at < end; at = segment++->end) {
    const StackExtent& extent = segment->extent;
    const bool data = extent.kind == ExtentKind::kData || extent.kind == ExtentKind::kCompressed;
    data_anywhere |= data;
    if (!Owned(extent)) continue;
    data_owned |= data;
    zeros_owned |= !data && at < selection_.zeros_until;
  }
  CopyPiece piece{.begin = begin, .end = end};
  if (!data_owned && !zeros_owned) return piece;
  if (!data_anywhere) {
    piece.action = CopyAction::kZero;
  } else if (first->extent.kind == ExtentKind::kData && first->end >= end) {
    piece.action = CopyAction::kShare;
    piece.layer = first->extent.layer;
    piece.host = first->extent.host + (begin - first->begin);
    piece.source = first->extent.source;
  } else {
    piece.action = CopyAction::kCopy;
  }
  return piece;
}

Result<std::vector<CopyPiece>> PieceCutter::Cut(const CopySource::View& source,
                                                CopyRange range) const {
  CHAINFS_ASSIGN(const std::vector<Segment> segments, SegmentsOf(source, range));
  std::vector<CopyPiece> pieces;
  const Segment* segment = segments.data();
  for (uint64_t at = range.begin; at < range.end;) {
    const uint64_t stop = std::min(RoundDown(at, cluster_size_) + cluster_size_, range.end);
    while (segment->end <= at) ++segment;
    Append(pieces, ClusterPiece(segment, at, stop));
    at = stop;
  }
  return pieces;
}

}  // namespace chainfs::jobs
