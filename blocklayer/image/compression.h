// SPDX-License-Identifier: Apache-2.0
//
// How the compressed clusters of an image are compressed. An image says once, in its header, which
// way it is; all its compressed clusters are of that kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "blocklayer/base/types.h"

namespace chainfs {

enum class ImageCompression : uint8_t {
  kZlib,  // raw deflate without header and checksum, with a window of 4 KiB
  kZstd,  // one frame
};

// A compressed cluster as who writes it hands it over.
struct CompressedCluster {
  GuestOffset offset;                // where it begins
  std::span<const std::byte> bytes;  // decode to a whole cluster, and are fewer
};

// As users and headers call it.
constexpr std::string_view CompressionName(ImageCompression compression) {
  return compression == ImageCompression::kZlib ? "zlib" : "zstd";
}

}  // namespace chainfs
