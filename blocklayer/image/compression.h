// SPDX-License-Identifier: Apache-2.0
//
// How the compressed clusters of an image are compressed. An image says once, in its header, which
// way it is; all its compressed clusters are of that kind.
#pragma once

#include <cstdint>
#include <string_view>

namespace chainfs {

enum class ImageCompression : uint8_t {
  kZlib,  // raw deflate without header and checksum, with a window of 4 KiB
  kZstd,  // one frame
};

// As users and headers call it.
constexpr std::string_view CompressionName(ImageCompression compression) {
  return compression == ImageCompression::kZlib ? "zlib" : "zstd";
}

}  // namespace chainfs
