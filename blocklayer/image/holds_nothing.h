// SPDX-License-Identifier: Apache-2.0
//
// Whether an image has nothing of its own, so that nothing is lost when it is written over or taken
// away.
//
// Threads: as Image::Map.
#pragma once

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"

namespace chainfs {

// Reads its map; ends at the first thing that it holds.
Result<bool> HoldsNothing(Image& image);

}  // namespace chainfs
