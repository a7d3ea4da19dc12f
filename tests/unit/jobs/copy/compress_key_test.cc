// SPDX-License-Identifier: Apache-2.0
//
// compress=: what it asks for and which image can have it.
#include "jobs/copy/compress_key.h"

#include <gtest/gtest.h>

#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs::jobs {
namespace {

Result<std::optional<ImageCompression>> Wanted(std::string_view word) {
  return CompressionWanted(verbs::Arguments().Set("compress", word));
}

TEST(CompressKeyTest, Words) {
  EXPECT_EQ(CompressionWanted({}).value(), std::nullopt);
  EXPECT_EQ(Wanted("none").value(), std::nullopt);
  EXPECT_EQ(Wanted("zlib").value(), ImageCompression::kZlib);
  EXPECT_EQ(Wanted("zstd").value(), ImageCompression::kZstd);
  EXPECT_EQ(Wanted("lz4").error().kind, ErrorKind::kInvalidArgument);
}

TEST(CompressKeyTest, WhatIsCompressedComesInChunksOfSeveralClusters) {
  EXPECT_EQ(ChunkUnit(65536, std::nullopt), 65536u);
  EXPECT_EQ(ChunkUnit(65536, ImageCompression::kZlib), 8u * 65536);
  EXPECT_EQ(ChunkUnit(2 << 20, ImageCompression::kZstd), 2u << 20);
}

TEST(CompressKeyTest, AnImageTakesItsOwnKindOnly) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  for (const bool zstd : {false, true}) {
    const std::string name = zstd ? "zstd.qcow2" : "zlib.qcow2";
    auto file = CreateQcow2(*host->OpenRoot(), name, {.virtual_size = 1 << 20, .zstd = zstd});
    ASSERT_TRUE(file);
    const LayerPtr layer = MakeLayer(context, name,
                                     OpenQcow2Image(*std::move(file), context.metadata(),
                                                    {.owner = context.metadata().NewOwner()})
                                         .value());
    const auto own = zstd ? ImageCompression::kZstd : ImageCompression::kZlib;
    const auto other = zstd ? ImageCompression::kZlib : ImageCompression::kZstd;
    EXPECT_TRUE(CheckCompression(*layer, std::nullopt));
    EXPECT_TRUE(CheckCompression(*layer, own));
    const Status refused = CheckCompression(*layer, other);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
    EXPECT_EQ(refused.error().message,
              zstd ? "/mem/zstd.qcow2: its clusters are compressed by zstd, not zlib; use "
                     "compress=zstd, or an image that was created with compression_type=zlib"
                   : "/mem/zlib.qcow2: its clusters are compressed by zlib, not zstd; use "
                     "compress=zlib, or an image that was created with compression_type=zstd");
  }
}

TEST(CompressKeyTest, RawImagesTakeNone) {
  const auto host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  const LayerPtr layer =
      MakeLayer(context, "a.raw", raw::OpenRawImage(NewMemFile(*host, "a.raw"), false).value());
  EXPECT_TRUE(CheckCompression(*layer, std::nullopt));
  EXPECT_EQ(CheckCompression(*layer, ImageCompression::kZlib).error().message,
            "/mem/a.raw: raw images hold nothing compressed; leave compress=zlib out");
}

}  // namespace
}  // namespace chainfs::jobs
