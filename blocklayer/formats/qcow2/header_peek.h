// SPDX-License-Identifier: Apache-2.0
//
// A look at what a qcow2 header says of its backing file, before the image is locked and opened.
// The roles of images (who is built on whom) must be known before the first lock is taken, and for
// images that cannot be opened too: an overlay that QEMU is running still makes its backing file
// untouchable. So this judges nothing; what it does not understand it leaves out, and the
// real opening finds the words for it.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/image/image.h"

namespace chainfs {

struct HeaderPeek {
  bool is_qcow2 = false;
  std::optional<BackingReference> backing;
  std::string data_file = {};  // where its data lies, if not in itself
  bool dirty = false;          // opening it for writing repairs it first
};

// Only for files whose format is known to be qcow2. Fails only when the file cannot be read.
Result<HeaderPeek> PeekQcow2Header(File& file);
// Whether the file begins like qcow2. For a hint to people; never decides a format.
bool BeginsLikeQcow2(File& file);

}  // namespace chainfs
