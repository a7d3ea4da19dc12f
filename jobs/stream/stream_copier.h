// SPDX-License-Identifier: Apache-2.0
//
// StreamCopier: the copying half of a stream. It gives the clusters of the layer that is filled
// (*top*) the contents that they show through the layers between it and the *base* that stays, so
// that afterwards those layers can be left out.
//
// Terms: *between* is every layer strictly between top and base, or everything below top when no
// base stays. A cluster of top is *needed* when top leaves it unallocated and any part of it comes
// from between: then it gets its complete flattened contents. Clusters that come wholly from base,
// from deeper, or from nowhere stay unallocated.
//
// Zeros: without a base an unallocated cluster reads as zeros, so zeros are never written. With
// one, a cluster that between makes zero (also by ending early) needs a zero cluster, as far as
// base reaches.
//
// Trust: what Map said of top is a hint; guests write meanwhile. Image::Populate looks again under
// its own range lock and leaves alone what has been allocated by then. What lies below does not
// change.
//
// Threads: all methods, any thread, also at once for different ranges.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "blocklayer/chain/layer_stack.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

class StreamCopier {
 public:
  // `below` is everything beneath `top`, of which the first `between` layers are to be left out;
  // its next layer, if there is one, is the base. `top` outlives the copier.
  StreamCopier(WritableImage& top, std::shared_ptr<const LayerStack> below, uint32_t between);

  uint64_t cluster_size() const { return cluster_size_; }
  // Both ends cluster-aligned, or the end of top. Returns the bytes copied, zeros not counted.
  ChunkResult Process(uint64_t offset, uint64_t length);
  // What Process would return, without copying: zeros in data are not looked for.
  ChunkResult Estimate(uint64_t offset, uint64_t length);

 private:
  enum class Action : uint8_t {
    kSkip,
    kZero,   // needed, and reads as zeros
    kCopy,   // needed
    kShare,  // needed, and lies in one piece in one file
  };
  // A range of whole clusters with one thing to do.
  struct Piece {
    uint64_t begin = 0;
    uint64_t end = 0;
    Action action = Action::kSkip;
    // kShare
    uint32_t layer = 0;
    HostOffset host = {};
    uint16_t source = 0;
  };
  // An extent of what is below, at its guest offset.
  struct Segment {
    uint64_t begin = 0;
    uint64_t end = 0;
    StackExtent extent;
  };

  // Calls `act` on every piece that needs something.
  template <typename Act>
  ChunkResult ForEachPiece(uint64_t begin, uint64_t end, Act act);
  Result<std::vector<Piece>> PiecesOf(uint64_t begin, uint64_t end) const;
  Result<std::vector<Segment>> SegmentsOf(uint64_t begin, uint64_t end) const;
  Piece ClusterPiece(const Segment* first, uint64_t begin, uint64_t end) const;
  static bool Extends(const Piece& piece, const Piece& next);
  bool MayShare(const Piece& piece) const;

  ChunkResult Perform(const Piece& piece);
  ChunkResult Share(const Piece& piece);
  ChunkResult Copy(uint64_t begin, uint64_t end);
  Status CopyLoaded(uint64_t begin, std::span<const std::byte> data, uint64_t& copied);

  WritableImage& top_;
  const std::shared_ptr<const LayerStack> below_;
  const uint32_t between_;
  const std::optional<uint64_t> base_size_;  // nothing when no base stays
  const uint64_t cluster_size_;
  // By layer of `below`: the file was seen to refuse to share.
  const std::unique_ptr<std::atomic<bool>[]> cannot_share_;
};

}  // namespace chainfs::jobs
