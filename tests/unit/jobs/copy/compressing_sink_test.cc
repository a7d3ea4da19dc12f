// SPDX-License-Identifier: Apache-2.0
//
// CompressingSink over qcow2 images of both kinds.
#include "jobs/copy/compressing_sink.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "jobs/copy/compress_key.h"
#include "jobs/copy/overwrite_sink.h"
#include "jobs/copy/populate_sink.h"
#include "jobs/copy/range_copier.h"
#include "jobs/copy/stack_source.h"
#include "jobs/engine/job_arena.h"
#include "tests/support/effort.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kCluster = 65536;

class CompressingSinkTest : public testing::TestWithParam<bool> {
 protected:
  bool zstd() const { return GetParam(); }

  LayerPtr NewLayer(const std::string& name, uint64_t size, uint32_t cluster_bits = 16) {
    auto file = CreateQcow2(*host_->OpenRoot(), name,
                            {.virtual_size = size, .cluster_bits = cluster_bits, .zstd = zstd()});
    EXPECT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), context_.metadata(),
                                {.owner = context_.metadata().NewOwner()});
    EXPECT_TRUE(image) << image.error().message;
    return MakeLayer(context_, name, *std::move(image));
  }
  Buffer Shown(const LayerPtr& layer) {
    Buffer shown(layer->image->virtual_size());
    const auto stack = LayerStack::Make({layer}, context_).value();
    EXPECT_TRUE(stack->ReadBelow(GuestOffset(0), shown));
    return shown;
  }
  // A letter per cluster: 'c' compressed, 'd' data, 'z' zeros, '.' unallocated.
  static std::string Kinds(Image& image) {
    std::string kinds;
    for (uint64_t at = 0; at < image.virtual_size(); at += image.cluster_size()) {
      const auto extent = image.Map(GuestOffset(at), 1, MapDetail::kFast);
      EXPECT_TRUE(extent);
      kinds += ".zdc"[static_cast<int>(extent->kind)];
    }
    return kinds;
  }
  Buffer Noise(size_t size) {
    Buffer bytes(size);
    random_.Fill(bytes);
    return bytes;
  }
  static Buffer Filled(size_t size, int value) { return Buffer(size, std::byte(value)); }
  static void Append(Buffer& all, const Buffer& more) {
    all.insert(all.end(), more.begin(), more.end());
  }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
};

TEST_P(CompressingSinkTest, WhatShrinksIsCompressedAndTheRestIsPlain) {
  const LayerPtr layer = NewLayer("a", 6 * kCluster + 512);
  WritableImage& image = *layer->image->writer();
  CompressingSink sink(std::make_unique<PopulateSink>(image), image);
  Buffer data;
  Append(data, Filled(kCluster, 1));
  Append(data, Noise(kCluster));
  Append(data, Noise(kCluster));
  Append(data, Filled(3 * kCluster, 2));
  Append(data, Filled(512, 3));  // the short cluster at the end
  ASSERT_TRUE(sink.Write(GuestOffset(0), data));
  EXPECT_EQ(Kinds(image), "cddcccc");
  EXPECT_TRUE(Shown(layer) == data);
  EXPECT_LT(image.AllocatedBytes().value(), 2 * kCluster + 8 * kCluster);
}

TEST_P(CompressingSinkTest, WhatIsAllocatedIsLeftToTheSinkBelow) {
  for (const bool overwrite : {false, true}) {
    const LayerPtr layer = NewLayer(overwrite ? "a" : "b", 4 * kCluster);
    WritableImage& image = *layer->image->writer();
    ASSERT_TRUE(image.Write(GuestOffset(kCluster), Filled(kCluster, 9), nullptr));
    ASSERT_TRUE(image.Flush());
    std::unique_ptr<CopySink> plain;
    if (overwrite) {
      plain = std::make_unique<OverwriteSink>(image, nullptr);
    } else {
      plain = std::make_unique<PopulateSink>(image);
    }
    CompressingSink sink(std::move(plain), image);
    ASSERT_TRUE(sink.Write(GuestOffset(0), Filled(3 * kCluster, 1)));
    ASSERT_TRUE(sink.Zero(GuestOffset(3 * kCluster), kCluster));
    EXPECT_EQ(Kinds(image).substr(0, 3), "cdc");
    Buffer expected = Filled(4 * kCluster, 1);
    std::ranges::fill(std::span(expected).subspan(3 * kCluster), std::byte{0});
    if (!overwrite) {
      std::ranges::fill(std::span(expected).subspan(kCluster, kCluster), std::byte{9});
    }
    EXPECT_TRUE(Shown(layer) == expected) << overwrite;
  }
}

TEST_P(CompressingSinkTest, CompressedClustersAreOverwritten) {
  const LayerPtr layer = NewLayer("a", 4 * kCluster);
  WritableImage& image = *layer->image->writer();
  CompressingSink sink(std::make_unique<OverwriteSink>(image, nullptr), image);
  ASSERT_TRUE(sink.Write(GuestOffset(0), Filled(4 * kCluster, 1)));
  ASSERT_TRUE(sink.Write(GuestOffset(kCluster), Filled(kCluster, 2)));
  ASSERT_TRUE(image.Write(GuestOffset(2 * kCluster + 5), Filled(7, 3), nullptr));
  Buffer expected = Filled(4 * kCluster, 1);
  std::ranges::fill(std::span(expected).subspan(kCluster, kCluster), std::byte{2});
  std::ranges::fill(std::span(expected).subspan(2 * kCluster + 5, 7), std::byte{3});
  EXPECT_TRUE(Shown(layer) == expected);
  EXPECT_EQ(Kinds(image), "cddc");
}

TEST_P(CompressingSinkTest, NothingIsShared) {
  const LayerPtr layer = NewLayer("a", 4 * kCluster);
  WritableImage& image = *layer->image->writer();
  CompressingSink sink(std::make_unique<PopulateSink>(image), image);
  const auto file = NewMemFile(*host_, "source");
  const Status shared = sink.Share(GuestOffset(0), kCluster, *file, HostOffset(0));
  ASSERT_FALSE(shared);
  EXPECT_EQ(shared.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(Kinds(image), "....");
}

TEST_P(CompressingSinkTest, AFailureEndsTheWriteAndNothingElse) {
  const LayerPtr layer = NewLayer("a", 64 * kCluster);
  WritableImage& image = *layer->image->writer();
  CompressingSink sink(std::make_unique<PopulateSink>(image), image);
  Buffer data;
  for (int i = 0; i < 16; ++i) Append(data, i % 2 == 0 ? Noise(kCluster) : Filled(kCluster, i));
  host_->AddFault({.matches = On(HostOp::kWrite, "a"), .skip = 2, .error = ENOSPC});
  const Status failed = sink.Write(GuestOffset(0), data);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind, ErrorKind::kNoSpace);
  host_->ClearFaults();
  ASSERT_TRUE(sink.Write(GuestOffset(0), data));
  data.resize(64 * kCluster);
  EXPECT_TRUE(Shown(layer) == data);
}

// Several chunks at once on one arena, as the lanes of a job: the buffer that each thread keeps for
// itself must not be met by another chunk while it waits for its pipeline.
TEST_P(CompressingSinkTest, ChunksAtOnceKeepApart) {
  for (int round = 0; round < Effort(4); ++round) {
    host_ = MemHost::Create();
    ChainBuilder chain(context_, *host_);
    const uint64_t size = random_.Between(8000, 16000) * 512;
    chain.Add(size, 4096);
    for (uint64_t i = 0; i < DivRoundUp(size, 4096); ++i) {
      Buffer bytes(4096, std::byte(i));
      if (random_.OneIn(3)) random_.Fill(bytes);
      if (!random_.OneIn(4)) chain.FillData(i, bytes);
    }
    const StackSource source(LayerStack::Make(chain.layers(), context_).value());
    const auto bits = static_cast<uint32_t>(random_.Between(9, 17));
    const LayerPtr layer = NewLayer("target" + std::to_string(round), size, bits);
    WritableImage& image = *layer->image->writer();
    const auto sink =
        WithCompression(std::make_unique<PopulateSink>(image), image, image.compression());
    RangeCopier copier(source, *sink, {.zeros_until = 0});
    constexpr uint64_t kChunk = 1 << 18;
    {
      JobArena arena(4);
      for (uint64_t at = 0; at < size; at += kChunk) {
        ASSERT_TRUE(arena.Submit([&, at] {
          const ChunkResult done = copier.Process(at, std::min(kChunk, size - at));
          EXPECT_TRUE(done) << done.error().error.message;
        }));
      }
    }
    ASSERT_TRUE(image.Flush());
    ASSERT_TRUE(Shown(layer) == chain.shown()) << "round " << round;
    if (bits > 9) {
      EXPECT_NE(Kinds(image).find('c'), std::string::npos);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompressingSinkTest, testing::Bool(), [](const auto& kind) {
  return std::string(kind.param ? "Zstd" : "Zlib");
});

}  // namespace
}  // namespace chainfs::jobs
