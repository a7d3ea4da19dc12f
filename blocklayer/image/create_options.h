// SPDX-License-Identifier: Apache-2.0
//
// How an image is to be created, whatever its format.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/image/image.h"

namespace chainfs {

struct ImageCreateOptions {
  uint64_t virtual_size = 0;  // bytes; the format may round it up
  // Of the unit in which space is allocated, as a power of two.
  uint32_t cluster_bits = 16;
  bool lazy_refcounts = false;  // reference counts may lag behind until it is closed
  // Of what will be compressed in it; nothing: as the format does by itself.
  std::optional<ImageCompression> compression = {};
  std::optional<BackingReference> backing = {};  // format is required
  uint32_t permissions = 0644;
};

}  // namespace chainfs
