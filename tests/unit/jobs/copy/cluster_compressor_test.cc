// SPDX-License-Identifier: Apache-2.0
//
// CompressCluster: what it makes is decoded as QEMU decodes it.
#include "jobs/copy/cluster_compressor.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <thread>

#include "tests/support/random.h"

namespace chainfs::jobs {
namespace {

using Bytes = std::vector<std::byte>;

// Half random, half one value: it shrinks, and what matches lies far apart too.
Bytes Compressible(Random& random, size_t size) {
  Bytes bytes(size, std::byte{0x42});
  for (size_t at = 0; at + 256 <= size; at += 512) {
    random.Fill(std::span(bytes).subspan(at, 256));
  }
  std::copy_n(bytes.begin(), size / 4, bytes.begin() + static_cast<ptrdiff_t>(size / 2));
  return bytes;
}

Bytes InflatedAsByQemu(std::span<const std::byte> in, size_t size) {
  Bytes out(size);
  z_stream stream = {};
  EXPECT_EQ(inflateInit2(&stream, -12), Z_OK);
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  EXPECT_EQ(stream.avail_out, 0u);
  inflateEnd(&stream);
  return out;
}

Bytes ZstdDecoded(std::span<const std::byte> in, size_t size) {
  Bytes out(size);
  EXPECT_EQ(ZSTD_decompress(out.data(), out.size(), in.data(), in.size()), size);
  return out;
}

TEST(ClusterCompressorTest, ComesBackAsItWas) {
  Random random;
  for (const size_t size : {512u, 4096u, 65536u, 2u << 20}) {
    const Bytes cluster = Compressible(random, size);
    Bytes out;
    ASSERT_TRUE(CompressCluster(ImageCompression::kZlib, cluster, out));
    ASSERT_FALSE(out.empty());
    EXPECT_LT(out.size(), size);
    EXPECT_EQ(InflatedAsByQemu(out, size), cluster);
    ASSERT_TRUE(CompressCluster(ImageCompression::kZstd, cluster, out));
    ASSERT_FALSE(out.empty());
    EXPECT_LT(out.size(), size);
    EXPECT_EQ(ZstdDecoded(out, size), cluster);
  }
}

TEST(ClusterCompressorTest, WhatDoesNotShrinkIsNothing) {
  Random random;
  for (const size_t size : {512u, 65536u}) {
    Bytes cluster(size);
    random.Fill(cluster);
    for (const auto compression : {ImageCompression::kZlib, ImageCompression::kZstd}) {
      Bytes out(7);
      ASSERT_TRUE(CompressCluster(compression, cluster, out));
      EXPECT_TRUE(out.empty());
      // The encoder is as good as new afterwards.
      const Bytes zeros(size);
      ASSERT_TRUE(CompressCluster(compression, zeros, out));
      EXPECT_FALSE(out.empty());
      EXPECT_LT(out.size(), size / 2);
    }
  }
}

TEST(ClusterCompressorTest, ThreadsDoNotMeet) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      Random random;
      for (int round = 0; round < 20; ++round) {
        const Bytes cluster = Compressible(random, 65536);
        Bytes out;
        ASSERT_TRUE(CompressCluster(ImageCompression::kZlib, cluster, out));
        ASSERT_EQ(InflatedAsByQemu(out, cluster.size()), cluster);
        ASSERT_TRUE(CompressCluster(ImageCompression::kZstd, cluster, out));
        ASSERT_EQ(ZstdDecoded(out, cluster.size()), cluster);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace chainfs::jobs
