// SPDX-License-Identifier: Apache-2.0
//
// An image whose data lies in two sources, at the same offsets of both, read through a stack and as
// a disk: nothing in between may take one for the other.
#include "blocklayer/chain/stack_sources.h"

#include <gtest/gtest.h>

#include <cstring>

#include "blocklayer/chain/disk.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;
constexpr uint64_t kSize = 9 << 20;

// Bytes that come from no file: each says the name of its source and where it lies.
class PatternSource final : public ByteSource {
 public:
  explicit PatternSource(std::byte name) : ByteSource("/nowhere"), name_(name) {}
  static std::byte At(std::byte name, uint64_t offset) {
    return name ^ static_cast<std::byte>(offset / kCluster * 7 + offset % 251);
  }
  Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = At(name_, offset.value + i);
    return out.size();
  }

 private:
  const std::byte name_;
};

// Every two clusters share a host offset, one in either source; every eighth cluster counts as
// compressed.
class TwoSourceImage final : public Image {
 public:
  explicit TwoSourceImage(std::unique_ptr<File> file) : file_(std::move(file)) {}

  static uint16_t SourceOf(uint64_t cluster) { return cluster % 2 == 0 ? 1 : 2; }
  static bool IsCompressed(uint64_t cluster) { return cluster / 2 % 4 == 0; }
  static uint64_t HostOf(uint64_t cluster) { return cluster / 2 * kCluster; }
  static std::byte NameOf(uint16_t source) { return static_cast<std::byte>(source * 16); }

  ImageFormat format() const override { return ImageFormat("two"); }
  File& file() override { return *file_; }
  uint16_t source_count() const override { return 3; }
  uint64_t virtual_size() const override { return kSize; }
  uint32_t cluster_size() const override { return kCluster; }
  std::optional<BackingReference> backing() const override { return std::nullopt; }
  Result<uint64_t> AllocatedBytes() override { return 0; }
  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) override {
    const uint64_t cluster = offset.value / kCluster;
    const uint64_t within = offset.Within(kCluster);
    const bool compressed = IsCompressed(cluster);
    return Extent{.kind = compressed ? ExtentKind::kCompressed : ExtentKind::kData,
                  .length = std::min(length, kCluster - within),
                  .host = HostOffset(HostOf(cluster) + (compressed ? 0 : within)),
                  .compressed_bytes = compressed ? kCluster : 0,
                  .source = SourceOf(cluster)};
  }
  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override {
    return source(extent.source).ReadZeroFilled(extent.host, out);
  }

 protected:
  ByteSource& FurtherSource(uint16_t number) override { return number == 1 ? one_ : two_; }

 private:
  const std::unique_ptr<File> file_;
  PatternSource one_{NameOf(1)};
  PatternSource two_{NameOf(2)};
};

class StackSourcesTest : public testing::Test {
 protected:
  StackSourcesTest() {
    ChainBuilder builder(context_, *host_);
    builder.Add(kSize, kCluster);
    layers_ = builder.layers();
    layers_.push_back(
        MakeLayer(context_, "two", std::make_unique<TwoSourceImage>(NewMemFile(*host_, "two"))));
    layers_.push_back(
        MakeLayer(context_, "base",
                  std::make_unique<FakeImage>(NewMemFile(*host_, "base"), kSize, kCluster)));
    shown_.resize(kSize);
    for (uint64_t at = 0; at < kSize; ++at) {
      const uint64_t cluster = at / kCluster;
      shown_[at] = PatternSource::At(TwoSourceImage::NameOf(TwoSourceImage::SourceOf(cluster)),
                                     TwoSourceImage::HostOf(cluster) + at % kCluster);
    }
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits()};
  Layers layers_;
  Buffer shown_;
};

TEST_F(StackSourcesTest, AreNumberedFromTheTop) {
  const StackSources sources(layers_);
  ASSERT_EQ(sources.size(), 5u);
  EXPECT_EQ(sources.FirstOf(1), 1u);
  EXPECT_EQ(sources.CountOf(1), 3u);
  EXPECT_EQ(sources.FirstOf(2), 4u);
  EXPECT_EQ(sources[3].layer, 1u);
  EXPECT_EQ(sources[3].number, 2u);
  EXPECT_EQ(sources[3].bytes, &layers_[1]->image->source(2));
  EXPECT_EQ(sources[4].bytes, &layers_[2]->image->file());
}

TEST_F(StackSourcesTest, AStackAndADiskReadEachFromItsOwn) {
  const auto disk = Disk::Open("vm", layers_, context_).value();
  Random random;
  for (int i = 0; i < 300; ++i) {
    const uint64_t at = random.Below(kSize);
    Buffer read(std::min<uint64_t>(kSize - at, random.Between(1, 64 << 10)));
    ASSERT_EQ(disk->Read(GuestOffset(at), read).value(), read.size());
    ASSERT_EQ(std::memcmp(read.data(), shown_.data() + at, read.size()), 0) << at;
  }
  const StackExtent extent =
      disk->Map(GuestOffset(11 * kCluster), kCluster, MapDetail::kFast).value();
  EXPECT_EQ(extent.layer, 1u);
  EXPECT_EQ(extent.source, TwoSourceImage::SourceOf(11));
  EXPECT_EQ(extent.host.value, TwoSourceImage::HostOf(11));
}

// One bad entry above spoils the region's index: the layers are asked directly.
TEST_F(StackSourcesTest, AreReadWithoutAnIndexToo) {
  constexpr uint64_t kBad = 5;
  AsFake(layers_[0]).PutBad(kBad);
  const auto stack = LayerStack::Make(layers_, context_).value();
  const GuestOffset after((kBad + 1) * kCluster);
  Buffer read(1 << 20);
  ASSERT_TRUE(stack->ReadBelow(after, read));
  EXPECT_EQ(std::memcmp(read.data(), shown_.data() + after.value, read.size()), 0);
  EXPECT_FALSE(stack->ReadBelow(GuestOffset(kBad * kCluster), std::span(read).first(512)));
}

}  // namespace
}  // namespace chainfs
