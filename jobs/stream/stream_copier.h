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
// Threads: all methods, any thread, also at once for different ranges.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "jobs/copy/copy_sink.h"
#include "jobs/copy/range_copier.h"
#include "jobs/copy/stack_source.h"

namespace chainfs::jobs {

class StreamCopier {
 public:
  // `below` is everything beneath `top`, of which the first `between` layers are to be left out;
  // its next layer, if there is one, is the base. `top` outlives the copier; it can hold what is to
  // be compressed.
  StreamCopier(WritableImage& top, std::shared_ptr<const LayerStack> below, uint32_t between,
               std::optional<ImageCompression> compression);

  RangeCopier& ranges() { return ranges_; }
  const CopySource& source() const { return source_; }
  CopySink& sink() { return *sink_; }
  const CopySelection& selection() const { return selection_; }

 private:
  const CopySelection selection_;
  StackSource source_;
  const std::unique_ptr<CopySink> sink_;
  RangeCopier ranges_;
};

}  // namespace chainfs::jobs
