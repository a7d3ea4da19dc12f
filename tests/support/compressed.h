// SPDX-License-Identifier: Apache-2.0
//
// Compressing clusters for tests, by the libraries themselves.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <cstddef>
#include <span>
#include <vector>

#include "blocklayer/image/compression.h"

namespace chainfs {

inline std::vector<std::byte> CompressForTest(ImageCompression compression,
                                              std::span<const std::byte> cluster) {
  std::vector<std::byte> out(cluster.size() + 512);
  if (compression == ImageCompression::kZstd) {
    const size_t size = ZSTD_compress(out.data(), out.size(), cluster.data(), cluster.size(), 1);
    EXPECT_FALSE(ZSTD_isError(size));
    out.resize(size);
    return out;
  }
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 1, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(cluster.data()));
  stream.avail_in = static_cast<uInt>(cluster.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace chainfs
