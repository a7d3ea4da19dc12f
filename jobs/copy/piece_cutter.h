// SPDX-License-Identifier: Apache-2.0
//
// PieceCutter: cuts a range into pieces of whole clusters of the sink, each with one thing to do.
//
// Terms: a byte is *owned* when it comes from one of the layers that the selection names, zeros
// included. A cluster of which any byte is owned gets its complete contents, as the source shows
// them; the others are skipped.
//
// Zeros: an owned byte that is zero needs to be written only where the sink shows something else as
// long as it is not; the selection says how far that may be. A cluster of nothing but such zeros is
// one to zero.
//
// Threads: immutable; all methods, any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "jobs/copy/copy_sink.h"
#include "jobs/copy/copy_source.h"

namespace chainfs::jobs {

struct CopySelection {
  static constexpr uint32_t kAllLayers = UINT32_MAX;
  static constexpr uint64_t kEverywhere = UINT64_MAX;

  // What this many of the source's uppermost layers own; kAllLayers: everything, also what no layer
  // has, which is zeros.
  uint32_t layers = kAllLayers;
  // Zeros are written to clusters that begin before this byte; past it the sink is known to read as
  // zeros where nothing is written.
  uint64_t zeros_until = kEverywhere;
};

enum class CopyAction : uint8_t {
  kSkip,
  kZero,
  kCopy,
  kShare,  // lies in one piece in one source
};

struct CopyPiece {
  uint64_t begin = 0;
  uint64_t end = 0;
  CopyAction action = CopyAction::kSkip;
  // kShare: as in StackExtent
  uint32_t layer = 0;
  HostOffset host = {};
  uint16_t source = 0;

  uint64_t length() const { return end - begin; }
};

class PieceCutter {
 public:
  // `cluster_size`: that of the sink.
  PieceCutter(CopySelection selection, uint64_t cluster_size)
      : selection_(selection), cluster_size_(cluster_size) {}

  const CopySelection& selection() const { return selection_; }
  uint64_t cluster_size() const { return cluster_size_; }
  // The pieces of `range`, in order, without gap. No two neighbours could be one.
  Result<std::vector<CopyPiece>> Cut(const CopySource::View& source, CopyRange range) const;

  // Adds `piece` behind the others, lengthening the last one if it can.
  static void Append(std::vector<CopyPiece>& pieces, const CopyPiece& piece);

 private:
  // An extent of the source, at its guest offset.
  struct Segment {
    uint64_t begin = 0;
    uint64_t end = 0;
    StackExtent extent;
  };

  static Result<std::vector<Segment>> SegmentsOf(const CopySource::View& source, CopyRange range);
  bool Owned(const StackExtent& extent) const;
  CopyPiece ClusterPiece(const Segment* first, uint64_t begin, uint64_t end) const;

  const CopySelection selection_;
  const uint64_t cluster_size_;
};

}  // namespace chainfs::jobs
