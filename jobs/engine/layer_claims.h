// SPDX-License-Identifier: Apache-2.0
//
// LayerClaims: what a job does to which layers, as far as others must know; and the one place that
// decides whether two jobs may run at once.
//
// Threads: values.
#pragma once

#include "blocklayer/chain/layer.h"

namespace chainfs::jobs {

struct LayerClaims {
  Layers reads;   // its result depends on what they show
  Layers fills;   // they get data of their own, and go on to show what they show
  Layers writes;  // they will show something else
  Layers drops;   // a chain will do without them

  bool operator==(const LayerClaims&) const = default;
};

// Whether the two must not run at once:
//  - what one fills, the other may read, but neither fill, write nor drop;
//  - what one writes, the other may not touch at all.
// Layers that both only read or drop (linked clones have them in common) do no harm, nor does a
// layer that one reads and the other fills or drops: its contents stay the same.
bool Conflict(const LayerClaims& a, const LayerClaims& b);

}  // namespace chainfs::jobs
