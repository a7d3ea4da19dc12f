// SPDX-License-Identifier: Apache-2.0
//
// Images with extended L2 entries: what is done to a part of a cluster leaves the rest of it as it
// was.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header_fields.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/compressed.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

constexpr uint64_t kCluster = 64 << 10;
constexpr uint64_t kSub = kCluster / 32;
constexpr uint64_t kSize = 16 * kCluster;

using Bytes = std::vector<std::byte>;

Bytes FilledWith(size_t length, uint8_t value) { return Bytes(length, std::byte{value}); }

class SubclustersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Qcow2CreateOptions options;
    options.virtual_size = kSize;
    options.extended_l2 = true;
    options.backing = BackingReference{.name = "base.raw", .format = "raw"};
    ASSERT_TRUE(CreateQcow2(*host_->OpenRoot(), "a.qcow2", options));
    Open();
  }
  void Open() {
    image_.reset();
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    ASSERT_TRUE(image) << image.error().message;
    image_ = *std::move(image);
    ASSERT_TRUE(image_->writable()) << image_->read_only_reason();
  }
  Status Write(uint64_t offset, const Bytes& data) {
    return image_->Write(GuestOffset(offset), data, &below_);
  }
  // What the first `length` bytes are made of, wherever it lies, as "data 4096, hole 2048".
  std::string Parts(uint64_t length) {
    constexpr const char* kNames[] = {"hole", "zero", "data", "compressed"};
    std::string text;
    for (uint64_t at = 0; at < length;) {
      std::string name;
      uint64_t alike = 0;
      while (at < length) {
        const auto extent = image_->Map(GuestOffset(at), length - at, MapDetail::kFast);
        if (!extent) return extent.error().message;
        const std::string found = kNames[static_cast<size_t>(extent->kind)];
        if (!name.empty() && found != name) break;
        name = found;
        alike += extent->length;
        at += extent->length;
      }
      text += (text.empty() ? "" : ", ") + name + " " + std::to_string(alike);
    }
    return text;
  }
  Bytes Shown() {
    auto shown = ReadWholeImage(*image_, &below_);
    EXPECT_TRUE(shown) << shown.error().message;
    return shown ? *std::move(shown) : Bytes();
  }
  void ExpectShown(const Bytes& expected) { EXPECT_EQ(Difference(expected, Shown()), ""); }
  // Of the file as it would be found after a flush.
  void ExpectSound() {
    ASSERT_TRUE(image_->Flush());
    const auto report = CheckQcow2(image_->file());
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
  }
  // All clusters look as if somebody else referred to them, too.
  void Share() {
    ASSERT_TRUE(image_->Close());
    image_.reset();
    Bytes bytes = host_->Contents("a.qcow2");
    const auto get = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
    const uint64_t block = get(get(qcow2::kOffsetRefcountTable));
    const uint64_t table = get(get(qcow2::kOffsetL1Table)) & qcow2::kEntryOffsetMask;
    for (uint64_t at = table; at < table + kCluster; at += 16) {
      const uint64_t place = get(at) & ~qcow2::kEntryCopied;
      if (place == 0) continue;
      StoreBigEndian(bytes.data() + at, place);
      StoreBigEndian(bytes.data() + block + place / kCluster * 2, uint16_t{2});
    }
    host_->PutFile("a.qcow2", bytes);
    Open();
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{8 << 20};
  const BufferBelow below_{FilledWith(kSize, 7)};
  std::unique_ptr<WritableImage> image_;
};

TEST_F(SubclustersTest, AFirstWriteOfWholeSubclustersCopiesNothing) {
  uint64_t written = 0;
  Mutex mu;
  host_->SetHook([&](const HostCall& call) {
    const MutexLock lock(mu);
    if (call.op == HostOp::kWrite) written += call.length;
    return 0;
  });
  ASSERT_TRUE(Write(2 * kSub, FilledWith(4096, 1)));
  host_->SetHook({});
  EXPECT_EQ(written, 4096u);
  EXPECT_EQ(Parts(kCluster), "hole 4096, data 4096, hole 57344");
  ASSERT_TRUE(Write(6 * kSub, FilledWith(kSub, 2)));
  ASSERT_TRUE(Write(4 * kSub, FilledWith(2 * kSub, 3)));
  EXPECT_EQ(Parts(kCluster), "hole 4096, data 10240, hole 51200") << "one after the other";
  ExpectSound();
  Open();
  EXPECT_EQ(Parts(kCluster), "hole 4096, data 10240, hole 51200");
  Bytes expected = below_.bytes();
  std::ranges::fill(std::span(expected).subspan(2 * kSub, 4096), std::byte{1});
  std::ranges::fill(std::span(expected).subspan(4 * kSub, 2 * kSub), std::byte{3});
  std::ranges::fill(std::span(expected).subspan(6 * kSub, kSub), std::byte{2});
  ExpectShown(expected);
}

TEST_F(SubclustersTest, PartsOfSubclustersAreFilledUp) {
  ASSERT_TRUE(Write(kSub + 512, FilledWith(2 * kSub, 1)));
  EXPECT_EQ(Parts(kCluster), "hole 2048, data 6144, hole 57344");
  // Over what is there and what is not, into the next cluster.
  ASSERT_TRUE(Write(3 * kSub + 100, FilledWith(kCluster, 2)));
  EXPECT_EQ(Parts(2 * kCluster), "hole 2048, data 71680, hole 57344");
  Bytes expected = below_.bytes();
  std::ranges::fill(std::span(expected).subspan(kSub + 512, 2 * kSub), std::byte{1});
  std::ranges::fill(std::span(expected).subspan(3 * kSub + 100, kCluster), std::byte{2});
  ExpectShown(expected);
  ExpectSound();
}

TEST_F(SubclustersTest, ZeroesGoBySubclusters) {
  ASSERT_TRUE(Write(0, FilledWith(8 * kSub, 1)));
  host_->AddFault({.matches = On(HostOp::kWrite), .forever = true});
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(2 * kSub), 8 * kSub, true, &below_)) << "no data";
  host_->ClearFaults();
  EXPECT_EQ(Parts(kCluster), "data 4096, zero 16384, hole 45056");
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(100), kSub, true, &below_));
  EXPECT_EQ(Parts(kCluster), "data 4096, zero 16384, hole 45056") << "no whole one";
  Bytes expected = below_.bytes();
  std::ranges::fill(std::span(expected).first(2 * kSub), std::byte{1});
  std::ranges::fill(std::span(expected).subspan(100, kSub), std::byte{0});
  std::ranges::fill(std::span(expected).subspan(2 * kSub, 8 * kSub), std::byte{0});
  ExpectShown(expected);
  // What was data before does not come back with its neighbours.
  ASSERT_TRUE(Write(3 * kSub + 512, FilledWith(512, 4)));
  std::ranges::fill(std::span(expected).subspan(3 * kSub + 512, 512), std::byte{4});
  ExpectShown(expected);
  ExpectSound();
  ASSERT_TRUE(image_->Discard(GuestOffset(0), kCluster));
  EXPECT_EQ(Parts(kCluster), "zero 65536");
  ExpectSound();
}

TEST_F(SubclustersTest, JobsFillInWhatIsMissing) {
  ASSERT_TRUE(Write(4 * kSub, FilledWith(2 * kSub, 1)));
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(8 * kSub), 2 * kSub, true, &below_));
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(kCluster), kSub, true, &below_));
  const Bytes expected = Shown();
  ASSERT_TRUE(image_->Populate(GuestOffset(0), below_.bytes()));
  EXPECT_EQ(Parts(2 * kCluster), "data 16384, zero 4096, data 45056, zero 2048, data 63488");
  ExpectShown(expected);
  ExpectSound();
}

TEST_F(SubclustersTest, CompressedCopiesOfPartlyAllocatedClustersAreStoredPlain) {
  ASSERT_TRUE(Write(4 * kSub, FilledWith(2 * kSub, 1)));
  const Bytes expected = Shown();
  const Bytes compressed =
      CompressForTest(ImageCompression::kZlib, std::span(below_.bytes()).first(kCluster));
  const std::vector<CompressedCluster> clusters = {{GuestOffset(0), compressed},
                                                   {GuestOffset(kCluster), compressed}};
  ASSERT_TRUE(image_->PopulateCompressed(clusters));
  EXPECT_EQ(Parts(2 * kCluster), "data 65536, compressed 65536");
  ExpectShown(expected);
  // And over a compressed one all of it has to be data.
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(kCluster), kSub, true, &below_));
  EXPECT_EQ(Parts(2 * kCluster), "data 131072");
  ExpectSound();
}

TEST_F(SubclustersTest, ZeroesOfJobsFillInWhatIsMissing) {
  ASSERT_TRUE(Write(4 * kSub, FilledWith(2 * kSub, 1)));
  ASSERT_TRUE(image_->PopulateZeroes(GuestOffset(0), 2 * kCluster));
  EXPECT_EQ(Parts(2 * kCluster), "zero 8192, data 4096, zero 118784");
  ExpectSound();
}

TEST_F(SubclustersTest, WhatOthersReferToIsCopiedAsFarAsItIsAllocated) {
  ASSERT_TRUE(Write(4 * kSub, FilledWith(2 * kSub, 1)));
  ASSERT_TRUE(Write(kCluster + 4 * kSub, FilledWith(2 * kSub, 2)));
  Share();
  Bytes expected = Shown();
  const uint64_t place = image_->Map(GuestOffset(4 * kSub), 1, MapDetail::kFast)->host.value;
  ASSERT_TRUE(Write(4 * kSub + 512, FilledWith(512, 3)));
  EXPECT_NE(image_->Map(GuestOffset(4 * kSub), 1, MapDetail::kFast)->host.value, place);
  EXPECT_EQ(Parts(kCluster), "hole 8192, data 4096, hole 53248");
  std::ranges::fill(std::span(expected).subspan(4 * kSub + 512, 512), std::byte{3});
  ExpectShown(expected);
  ASSERT_TRUE(image_->Populate(GuestOffset(kCluster), FilledWith(kCluster, 7)));
  ExpectShown(expected);
  ExpectSound();
}

TEST_F(SubclustersTest, NothingComesBackWhenADiskShrinksAndGrows) {
  ASSERT_TRUE(Write(0, FilledWith(3 * kSub, 1)));
  ASSERT_TRUE(Write(6 * kSub, FilledWith(2 * kSub, 1)));
  ASSERT_TRUE(image_->Flush());
  ASSERT_TRUE(image_->Shrink(2 * kSub + 512));
  ASSERT_TRUE(image_->Grow(kSize, &below_, kSize));
  Bytes expected(kSize, std::byte{0});
  std::ranges::fill(std::span(expected).first(2 * kSub + 512), std::byte{1});
  ExpectShown(expected);
  ExpectSound();
}

}  // namespace
}  // namespace chainfs
