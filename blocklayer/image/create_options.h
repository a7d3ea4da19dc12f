// SPDX-License-Identifier: Apache-2.0
//
// How an image is to be created, whatever its format.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/image/image.h"

namespace chainfs {

// The least cluster_bits of images with subclusters: qcow2's, of which none has less than 512
// bytes.
inline constexpr uint32_t kLeastSubclusterBits = 14;

// Whether a new image gets subclusters: as it was wanted, or else like `below`, which it stands on
// (null: nothing), where such clusters can have them.
inline bool GetsSubclusters(std::optional<bool> wanted, const Image* below, uint32_t cluster_bits) {
  if (wanted) return *wanted;
  return below != nullptr && below->has_subclusters() && cluster_bits >= kLeastSubclusterBits;
}

struct ImageCreateOptions {
  uint64_t virtual_size = 0;  // bytes; the format may round it up
  // Of the unit in which space is allocated, as a power of two.
  uint32_t cluster_bits = 16;
  bool lazy_refcounts = false;  // reference counts may lag behind until it is closed
  // Parts of a unit are allocated each for itself (Image::has_subclusters); only from
  // kLeastSubclusterBits on.
  bool subclusters = false;
  // Of what will be compressed in it; nothing: as the format does by itself.
  std::optional<ImageCompression> compression = {};
  std::optional<BackingReference> backing = {};  // format is required
  uint32_t permissions = 0644;
};

}  // namespace chainfs
