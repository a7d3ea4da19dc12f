// SPDX-License-Identifier: Apache-2.0
//
// HeaderPeek: what a look at an image's header says of other files, before the image is locked and
// opened. The roles of images (who is built on whom) must be known before the first lock is taken,
// and for images that cannot be opened too: an overlay that QEMU is running still makes its backing
// file untouchable. So a look judges nothing; what it does not understand it leaves out, and the
// real opening finds the words for it.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/image/image.h"

namespace chainfs {

struct HeaderPeek {
  std::optional<BackingReference> backing;
  std::string data_file = {};  // where its data lies, if not in itself
  bool dirty = false;          // opening it for writing repairs it first
};

}  // namespace chainfs
