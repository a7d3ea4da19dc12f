// SPDX-License-Identifier: Apache-2.0
//
// MergeCopier: copies what the layers above a base own down into the base, while living stacks read
// the base beneath them.
//
// Contents: nothing that it writes changes what a stack shows that contains the layers above, since
// it writes only what they show there anyway. What shows the base without them changes.
//
// Places: an overwritten cluster may move (compressed ones, those that a snapshot in the image
// shares) or go (zeros). Stacks remember places, so each range is written under a guard of the
// base's epoch, which keeps what was freed from being given away, and the guard ends only after all
// stacks have forgotten that range (CHN-4).
//
// Ends: a base that is longer keeps what it has past the end of the source.
//
// Threads: all methods, any thread, also at once for ranges that have no cluster of the base in
// common.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer_stack.h"
#include "jobs/copy/copy_source.h"
#include "jobs/copy/overwrite_sink.h"
#include "jobs/copy/range_copier.h"

namespace chainfs::jobs {

class MergeCopier {
 public:
  // `source` shows the layers that are merged, `layers` of them, then `base`, then `below`: what
  // base is built on, null for nothing. `compression`: one that base can hold, of clusters that it
  // has not got yet. References outlive this.
  MergeCopier(BlockContext& context, const CopySource& source, uint32_t layers, LayerPtr base,
              std::shared_ptr<const LayerStack> below,
              std::optional<ImageCompression> compression = {});

  // Makes base at least that long, durably. What it gains reads as zeros, also where what it is
  // built on is longer. Nothing is processed meanwhile.
  Status EnlargeBase(uint64_t size);
  // `offset` is a multiple of base's cluster size, and so is the end unless it is that of the
  // source. Base is at least as long. Returns the bytes copied, zeros not counted.
  ChunkResult Process(uint64_t offset, uint64_t length);
  // No stack remembers anything of base any more. What shows base without the layers above would
  // else show a part of what was there before.
  void ForgetAllPlaces() const { ForgetPlaces(0, UINT64_MAX); }
  // What Process would return, without copying: zeros in data are not looked for.
  ChunkResult Estimate(uint64_t offset, uint64_t length) {
    return copier_.Estimate(offset, length);
  }

 private:
  // Where guest bytes [begin, end) lie in base.
  struct Place {
    uint64_t begin = 0;
    uint64_t end = 0;
    HostOffset host = {};
    bool moves = false;  // when it is overwritten
  };

  ChunkResult Copy(uint64_t offset, uint64_t length);
  // Where base has the range. Empty for a raw one, of which a byte has one place.
  Result<std::vector<Place>> PlacesOf(uint64_t offset, uint64_t length) const;
  // Whether all are where they were; false when that cannot be told.
  bool AreThere(const std::vector<Place>& places) const;
  // Of the cluster of base that the source ends in, the part before that end.
  ChunkResult ProcessEnd(uint64_t offset, uint64_t length);
  void ForgetPlaces(uint64_t offset, uint64_t length) const;

  BlockContext& context_;
  const CopySource& source_;
  const uint32_t layers_;
  const LayerPtr base_;
  const std::shared_ptr<const LayerStack> below_;
  OverwriteSink end_sink_;                // of less than a cluster
  const std::unique_ptr<CopySink> sink_;  // of whole ones
  RangeCopier copier_;
};

}  // namespace chainfs::jobs
