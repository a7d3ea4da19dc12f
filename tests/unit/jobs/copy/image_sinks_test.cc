// SPDX-License-Identifier: Apache-2.0
//
// PopulateSink and OverwriteSink over real images in memory.
#include <gtest/gtest.h>

#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/raw/raw_image.h"
#include "jobs/copy/overwrite_sink.h"
#include "jobs/copy/populate_sink.h"
#include "jobs/copy/range_copier.h"
#include "jobs/copy/stack_source.h"
#include "tests/support/effort.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kCluster = 65536;
constexpr uint64_t kSize = 64 * kCluster;

class ImageSinksTest : public testing::Test {
 protected:
  std::unique_ptr<WritableImage> NewQcow2(const std::string& name, uint64_t size = kSize,
                                          std::optional<BackingReference> backing = {}) {
    const auto root = host_->OpenRoot();
    auto file = CreateQcow2(*root, name, {.virtual_size = size, .backing = std::move(backing)});
    EXPECT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), context_.metadata(),
                                {.owner = context_.metadata().NewOwner()});
    EXPECT_TRUE(image) << image.error().message;
    return *std::move(image);
  }
  std::unique_ptr<WritableImage> NewRaw(const std::string& name, uint64_t size = kSize) {
    auto file = NewMemFile(*host_, name);
    EXPECT_TRUE(file->Truncate(size));
    return raw::OpenRawImage(std::move(file), false).value();
  }
  // All of it, where it is unallocated what `below` has.
  Buffer Shown(Image& image, const BackingReader* below = nullptr) {
    Buffer shown(image.virtual_size());
    for (uint64_t at = 0; at < shown.size();) {
      const auto extent = image.Map(GuestOffset(at), shown.size() - at, MapDetail::kPrecise);
      EXPECT_TRUE(extent);
      const std::span<std::byte> part = std::span(shown).subspan(at, extent->length);
      if (extent->kind == ExtentKind::kData) {
        EXPECT_TRUE(image.file().ReadZeroFilled(extent->host, part));
      } else if (extent->kind == ExtentKind::kUnallocated && below != nullptr) {
        EXPECT_TRUE(below->ReadBelow(GuestOffset(at), part));
      }
      at += part.size();
    }
    return shown;
  }
  Buffer Filled(uint64_t length, int value) { return Buffer(length, std::byte(value)); }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
};

TEST_F(ImageSinksTest, PopulateTakesWhatIsUnallocatedOnly) {
  const auto image = NewQcow2("a", kSize, BackingReference{"base", "raw"});
  ASSERT_TRUE(image->Write(GuestOffset(2 * kCluster), Filled(kCluster, 9), nullptr));
  ASSERT_TRUE(image->WriteZeroes(GuestOffset(3 * kCluster), kCluster, false, nullptr));
  PopulateSink sink(*image);
  const auto expect = [&](uint64_t begin, uint64_t end, uint64_t from, uint64_t to) {
    const auto taken = sink.Taken(begin * kCluster, end * kCluster);
    ASSERT_TRUE(taken);
    EXPECT_EQ(taken->begin, from * kCluster);
    EXPECT_EQ(taken->end, to * kCluster);
  };
  expect(0, 6, 0, 2);
  expect(1, 6, 1, 2);
  expect(2, 6, 4, 6);
  expect(2, 4, 4, 4);
}

TEST_F(ImageSinksTest, PopulateLeavesAGuestsWriteAlone) {
  const auto image = NewQcow2("a");
  PopulateSink sink(*image);
  ASSERT_TRUE(image->Write(GuestOffset(kCluster), Filled(512, 9), nullptr));
  ASSERT_TRUE(sink.Write(GuestOffset(0), Filled(4 * kCluster, 1)));
  ASSERT_TRUE(sink.Zero(GuestOffset(2 * kCluster), 4 * kCluster));
  const Buffer shown = Shown(*image);
  EXPECT_EQ(shown[0], std::byte{1});
  EXPECT_EQ(shown[kCluster], std::byte{9});
  EXPECT_EQ(shown[kCluster + 512], std::byte{0});
  EXPECT_EQ(shown[2 * kCluster], std::byte{1});
  EXPECT_EQ(shown[4 * kCluster], std::byte{0});
}

TEST_F(ImageSinksTest, OverwriteReplacesWhateverWasThere) {
  for (const auto& image : {NewQcow2("a"), NewRaw("b")}) {
    ASSERT_TRUE(image->Write(GuestOffset(kCluster), Filled(6 * kCluster, 9), nullptr));
    OverwriteSink sink(*image, nullptr);
    EXPECT_EQ(sink.Taken(0, kSize)->end, kSize);
    ASSERT_TRUE(sink.Write(GuestOffset(0), Filled(2 * kCluster, 1)));
    ASSERT_TRUE(sink.Zero(GuestOffset(3 * kCluster), kCluster));
    ASSERT_TRUE(sink.Zero(GuestOffset(5 * kCluster), kSize - 5 * kCluster));
    Buffer expected(kSize);
    std::fill_n(expected.begin(), 2 * kCluster, std::byte{1});
    for (uint64_t i : {2u, 4u}) {
      std::ranges::fill(std::span(expected).subspan(i * kCluster, kCluster), std::byte{9});
    }
    EXPECT_TRUE(Shown(*image) == expected);
  }
}

TEST_F(ImageSinksTest, BothShareWhatTheHostCanCopy) {
  const auto file = NewMemFile(*host_, "source");
  ASSERT_TRUE(file->WriteAt(HostOffset(8192), Filled(4 * kCluster, 5)));
  Buffer expected(kSize);
  std::ranges::fill(std::span(expected).subspan(kCluster, 4 * kCluster), std::byte{5});
  for (const auto& image : {NewQcow2("a"), NewRaw("b")}) {
    ASSERT_TRUE(image->Write(GuestOffset(2 * kCluster), Filled(kCluster, 9), nullptr));
    ASSERT_TRUE(OverwriteSink(*image, nullptr)
                    .Share(GuestOffset(kCluster), 4 * kCluster, *file, HostOffset(8192)));
    EXPECT_TRUE(Shown(*image) == expected);
  }
  const auto image = NewQcow2("c");
  ASSERT_TRUE(
      PopulateSink(*image).Share(GuestOffset(kCluster), 4 * kCluster, *file, HostOffset(8192)));
  EXPECT_TRUE(Shown(*image) == expected);
}

TEST_F(ImageSinksTest, ZerosChangeNothingWhereThereAreZeros) {
  for (const auto& image : {NewQcow2("a"), NewRaw("b")}) {
    host_->StartRecording();
    OverwriteSink sink(*image, nullptr);
    ASSERT_TRUE(sink.Zero(GuestOffset(0), kSize));
    EXPECT_EQ(host_->EventCount(), 0u);
    host_->StopRecording();
  }
}

TEST_F(ImageSinksTest, ZerosHideWhatLiesBelow) {
  const auto image = NewQcow2("a", kSize, BackingReference{"base", "raw"});
  ChainBuilder chain(context_, *host_);
  chain.Add(kSize, kCluster);
  chain.FillData(1, Filled(kCluster, 7));
  const auto below = LayerStack::Make(chain.layers(), context_).value();
  OverwriteSink sink(*image, below);
  ASSERT_TRUE(sink.Zero(GuestOffset(0), 4 * kCluster));
  EXPECT_EQ(Shown(*image, below.get())[kCluster], std::byte{0});
}

TEST_F(ImageSinksTest, RandomChainsAreCopiedIntoImages) {
  for (int round = 0; round < Effort(8); ++round) {
    host_ = MemHost::Create();
    ChainBuilder chain(context_, *host_);
    const uint64_t size = random_.Between(1, 8000) * 512;
    for (uint64_t i = random_.Between(1, 4); i > 0; --i) {
      chain.AddRandom(random_, size, 512u << random_.Below(9));
    }
    const StackSource source(LayerStack::Make(chain.layers(), context_).value());
    const std::string name = std::to_string(round);
    const auto fresh = NewQcow2("new" + name, size);
    const auto used =
        random_.OneIn(2) ? NewQcow2("used" + name, size) : NewRaw("used" + name, size);
    Buffer noise(size);
    random_.Fill(noise);
    ASSERT_TRUE(used->Write(GuestOffset(0), noise, nullptr));
    PopulateSink populate(*fresh);
    OverwriteSink overwrite(*used, nullptr);
    RangeCopier to_fresh(source, populate, {.zeros_until = 0});
    RangeCopier to_used(source, overwrite, {});
    for (uint64_t at = 0; at < size; at += 16 * kCluster) {
      const uint64_t length = std::min(16 * kCluster, size - at);
      ASSERT_TRUE(to_fresh.Process(at, length));
      ASSERT_TRUE(to_used.Process(at, length));
    }
    ASSERT_TRUE(Shown(*fresh) == chain.shown()) << "round " << round;
    ASSERT_TRUE(Shown(*used) == chain.shown()) << "round " << round;
  }
}

}  // namespace
}  // namespace chainfs::jobs
