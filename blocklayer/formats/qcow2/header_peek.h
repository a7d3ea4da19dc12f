// SPDX-License-Identifier: Apache-2.0
//
// The look at a qcow2 header (image/header_peek.h).
#pragma once

#include "blocklayer/image/header_peek.h"

namespace chainfs {

// Says nothing of a file that is no qcow2 image. Fails only when the file cannot be read.
Result<HeaderPeek> PeekQcow2Header(File& file);
// Whether the file begins like qcow2. For a hint to people; never decides a format.
bool BeginsLikeQcow2(File& file);

}  // namespace chainfs
