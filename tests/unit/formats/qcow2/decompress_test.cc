// SPDX-License-Identifier: Apache-2.0
//
// Decoding compressed clusters: everything that qemu-img compresses comes out as it went in;
// streams that are cut off, go on too long or are garbage are refused or accepted as QEMU does, in
// bounded time.
#include "blocklayer/formats/qcow2/decompress.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;

// Half random, half not: compresses, but not to nothing.
Bytes Compressible(Random& random, size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; i += 256) {
    const size_t piece = std::min<size_t>(256, size - i);
    if (random.OneIn(2)) {
      random.Fill(std::span(bytes).subspan(i, piece));
    } else {
      std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(i), piece,
                  static_cast<std::byte>(random.Below(256)));
    }
  }
  return bytes;
}

Bytes Deflate(std::span<const std::byte> data, int window_bits = -12, int level = 6) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
  Bytes out(deflateBound(&stream, data.size()));
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Bytes Zstd(std::span<const std::byte> data, int level = 3) {
  Bytes out(ZSTD_compressBound(data.size()));
  const size_t size = ZSTD_compress(out.data(), out.size(), data.data(), data.size(), level);
  EXPECT_FALSE(ZSTD_isError(size));
  out.resize(size);
  return out;
}

void Append(Bytes& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

void ExpectDecodes(uint8_t type, const Bytes& compressed, const Bytes& expected) {
  Bytes out(expected.size());
  const Status status = DecompressCluster(type, compressed, out);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(out == expected);
}

void ExpectCorrupt(uint8_t type, std::span<const std::byte> compressed, size_t size) {
  Bytes out(size);
  const Status status = DecompressCluster(type, compressed, out);
  ASSERT_FALSE(status);
  EXPECT_EQ(ErrorKindName(status.error().kind), "corrupt") << status.error().message;
}

// ---- What qemu-img writes.

class QemuImgTest : public testing::TestWithParam<std::tuple<uint32_t, std::string>> {};

// Decodes every compressed cluster of the image, which has one L1 entry per table read below.
void ExpectImageHolds(File& file, const Bytes& contents, uint64_t& compressed_clusters) {
  const Result<Qcow2Header> header = ReadQcow2Header(file);
  ASSERT_TRUE(header.has_value()) << header.error().message;
  const Geometry geometry = header->geometry();
  const uint64_t cluster = geometry.cluster_size();
  for (uint64_t at = 0; at < contents.size(); at += cluster) {
    std::byte entry[8];
    const GuestOffset guest(at);
    ASSERT_TRUE(file.ReadZeroFilled(header->l1_offset + geometry.L1Index(guest) * 8, entry));
    const uint64_t table = LoadBigEndian<uint64_t>(entry) & kEntryOffsetMask;
    if (table == 0) continue;
    ASSERT_TRUE(file.ReadZeroFilled(HostOffset(table + geometry.L2Index(guest) * 8), entry));
    const auto mapping = geometry.l2().Decode(geometry.l2().Load(entry, 0));
    if (mapping.kind != ClusterKind::kCompressed) continue;
    ++compressed_clusters;
    Bytes compressed(mapping.compressed_bytes);
    const Result<size_t> read = file.ReadAt(mapping.host, compressed);
    ASSERT_TRUE(read.has_value());
    Bytes out(cluster);
    const Status status =
        DecompressCluster(header->compression_type, std::span(compressed).first(*read), out);
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_EQ(std::memcmp(out.data(), contents.data() + at, cluster), 0) << "at " << at;
  }
}

TEST_P(QemuImgTest, EveryClusterDecodes) {
  const auto& [bits, type] = GetParam();
  const TempDir temp;
  Random random;
  const uint64_t size = std::max<uint64_t>(1 << 20, 4ull << bits);
  const Bytes contents = Compressible(random, size);
  WriteTextFile(temp / "in.raw",
                std::string_view(reinterpret_cast<const char*>(contents.data()), size));
  const CommandResult made =
      RunCommand({"qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                  "cluster_size=" + std::to_string(1u << bits) + ",compression_type=" + type,
                  temp / "in.raw", temp / "a.qcow2"});
  ASSERT_TRUE(made.ok()) << made.Describe();
  const auto directory = OpenPosixDirectory(temp.path());
  ASSERT_TRUE(directory.has_value());
  const auto file = (*directory)->Open("a.qcow2", OpenMode::kReadOnly);
  ASSERT_TRUE(file.has_value());
  uint64_t compressed_clusters = 0;
  ExpectImageHolds(**file, contents, compressed_clusters);
  EXPECT_GT(compressed_clusters, 0u);
}

INSTANTIATE_TEST_SUITE_P(All, QemuImgTest,
                         testing::Combine(testing::Range(9u, 22u), testing::Values("zlib", "zstd")),
                         [](const auto& tested) {
                           return std::get<1>(tested.param) + "_Bits" +
                                  std::to_string(std::get<0>(tested.param));
                         });

// ---- zlib.

TEST(ZlibTest, WhatFollowsTheStreamIsIgnored) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  for (const size_t junk : {1u, 7u, 511u, 4096u}) {
    Bytes compressed = Deflate(data);
    Bytes more(junk);
    random.Fill(more);
    Append(compressed, more);
    ExpectDecodes(kCompressionZlib, compressed, data);
  }
}

TEST(ZlibTest, StoredBlocksAndLargeWindowsDecode) {
  Random random;
  Bytes data(65536);
  random.Fill(data);
  ExpectDecodes(kCompressionZlib, Deflate(data, -12, 0), data);
  // Distances beyond the 4 KiB that writers should keep to: harmless, the output is all there.
  std::copy_n(data.begin(), 30000, data.begin() + 32000);
  ExpectDecodes(kCompressionZlib, Deflate(data, -15, 9), data);
}

TEST(ZlibTest, AStreamThatFillsTheClusterCounts) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  // It goes on: more than one cluster of data.
  Bytes longer = data;
  Append(longer, data);
  ExpectDecodes(kCompressionZlib, Deflate(longer), data);
  // Its end is cut off, but all output is there. Stored blocks end with the data; then comes the
  // empty block that says so.
  Bytes stored;
  z_stream stream = {};
  ASSERT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
  stored.resize(deflateBound(&stream, data.size()) + 64);
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(stored.data());
  stream.avail_out = static_cast<uInt>(stored.size());
  ASSERT_EQ(deflate(&stream, Z_SYNC_FLUSH), Z_OK);
  stored.resize(stream.total_out);
  deflateEnd(&stream);
  ExpectDecodes(kCompressionZlib, stored, data);
}

TEST(ZlibTest, ShortOutputAndGarbageAreCorrupt) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  const Bytes compressed = Deflate(data);
  ExpectCorrupt(kCompressionZlib, compressed, data.size() + 1);
  ExpectCorrupt(kCompressionZlib, std::span(compressed).first(compressed.size() / 2), data.size());
  ExpectCorrupt(kCompressionZlib, {}, data.size());
  ExpectCorrupt(kCompressionZlib, Bytes(1000), data.size());
  ExpectCorrupt(kCompressionZlib, Bytes(1000, std::byte{0xff}), data.size());
  // With a zlib header it is not raw deflate.
  ExpectCorrupt(kCompressionZlib, Deflate(data, 15), data.size());
}

// ---- zstd.

TEST(ZstdTest, SeveralFramesAndWhatFollows) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  Bytes compressed = Zstd(std::span(data).first(1000));
  Append(compressed, Zstd({}));
  Append(compressed, Zstd(std::span(data).subspan(1000)));
  ExpectDecodes(kCompressionZstd, compressed, data);
  Bytes junk(600);
  random.Fill(junk);
  Append(compressed, junk);
  ExpectDecodes(kCompressionZstd, compressed, data);
}

TEST(ZstdTest, WindowsCostNoMemory) {
  // A stream without content size, with the largest window.
  Random random;
  const Bytes data = Compressible(random, 65536);
  ZSTD_CCtx* encoder = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog,
                         ZSTD_cParam_getBounds(ZSTD_c_windowLog).upperBound > 27 ? 27 : 25);
  ZSTD_CCtx_setParameter(encoder, ZSTD_c_checksumFlag, 1);
  Bytes compressed(ZSTD_compressBound(data.size()) + 64);
  ZSTD_outBuffer out{compressed.data(), compressed.size(), 0};
  ZSTD_inBuffer in{data.data(), data.size() / 2, 0};
  ASSERT_FALSE(ZSTD_isError(ZSTD_compressStream2(encoder, &out, &in, ZSTD_e_continue)));
  in.size = data.size();
  ASSERT_EQ(ZSTD_compressStream2(encoder, &out, &in, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(encoder);
  compressed.resize(out.pos);
  ExpectDecodes(kCompressionZstd, compressed, data);
}

Bytes Skippable(size_t count) {
  Bytes bytes;
  const Bytes frame{std::byte{0x50}, std::byte{0x2a}, std::byte{0x4d}, std::byte{0x18},
                    std::byte{0},    std::byte{0},    std::byte{0},    std::byte{0}};
  for (size_t i = 0; i < count; ++i) Append(bytes, frame);
  return bytes;
}

TEST(ZstdTest, SkippableFramesAreSkippedUpToALimit) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  Bytes few = Skippable(10);
  Append(few, Zstd(data));
  ExpectDecodes(kCompressionZstd, few, data);
  Bytes many = Skippable(100000);
  Append(many, Zstd(data));
  ExpectCorrupt(kCompressionZstd, many, data.size());
  Bytes empty;
  for (int i = 0; i < 10000; ++i) Append(empty, Zstd({}));
  ExpectCorrupt(kCompressionZstd, empty, data.size());
}

TEST(ZstdTest, ShortLongTornAndLyingStreamsAreCorrupt) {
  Random random;
  const Bytes data = Compressible(random, 65536);
  const Bytes compressed = Zstd(data);
  ExpectCorrupt(kCompressionZstd, compressed, data.size() + 1);
  ExpectCorrupt(kCompressionZstd, compressed, data.size() - 1);
  ExpectCorrupt(kCompressionZstd, std::span(compressed).first(compressed.size() - 1), data.size());
  ExpectCorrupt(kCompressionZstd, {}, data.size());
  ExpectCorrupt(kCompressionZstd, Bytes(1000), data.size());
  Bytes lying = compressed;
  lying[5] ^= std::byte{1};  // the frame's content size
  ExpectCorrupt(kCompressionZstd, lying, data.size());
}

// ---- Both.

TEST(DecompressTest, DamagedStreamsNeverPassTheOutput) {
  Random random;
  const Bytes data = Compressible(random, 4096);
  for (const uint8_t type : {kCompressionZlib, kCompressionZstd}) {
    const Bytes good = type == kCompressionZlib ? Deflate(data) : Zstd(data);
    for (int round = 0; round < 3000; ++round) {
      Bytes bad = good;
      for (uint64_t i = 0; i < random.Between(1, 4); ++i) {
        bad[random.Below(bad.size())] = static_cast<std::byte>(random.Below(256));
      }
      // The decoder may not touch what lies behind its output.
      Bytes out(data.size() + 64, std::byte{0xa5});
      (void)DecompressCluster(type, bad, std::span(out).first(data.size())).has_value();
      ASSERT_TRUE(
          std::all_of(out.end() - 64, out.end(), [](std::byte b) { return b == std::byte{0xa5}; }));
    }
  }
}

TEST(DecompressTest, UnknownType) {
  Bytes out(512);
  const Status status = DecompressCluster(2, Bytes(100), out);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace chainfs::qcow2
