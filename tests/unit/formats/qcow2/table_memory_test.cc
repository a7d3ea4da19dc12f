// SPDX-License-Identifier: Apache-2.0
//
// What the tables of an image cost: nothing for what a header claims, slices of the cache for what
// is used, and a bounded charge for what is written.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kCluster = 64 << 10;
constexpr uint64_t kMostL1Entries = 4 << 20;
constexpr uint64_t kL1 = 16 * kCluster;  // where the claimed table lies

class TableMemory : public ::testing::Test {
 protected:
  // The largest L1 table there is for a disk of 1 MiB; `entry(i)` fills it, null: a hole.
  void MakeClaiming(const std::function<uint64_t(uint64_t)>& entry) {
    ASSERT_TRUE(CreateQcow2(*host_->OpenRoot(), "a.qcow2", {.virtual_size = 1 << 20}));
    const auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    std::array<std::byte, 512> sector;
    ASSERT_TRUE((*file)->ReadZeroFilled(HostOffset(0), sector));
    StoreBigEndian(sector.data() + kOffsetL1Size, static_cast<uint32_t>(kMostL1Entries));
    StoreBigEndian(sector.data() + kOffsetL1Table, kL1);
    ASSERT_TRUE((*file)->WriteAt(HostOffset(0), sector));
    ASSERT_TRUE((*file)->Truncate(kL1 + kMostL1Entries * 8));
    if (entry) {
      std::vector<std::byte> table(kMostL1Entries * 8);
      for (uint64_t i = 0; i < kMostL1Entries; ++i) {
        StoreBigEndian(table.data() + i * 8, entry(i));
      }
      ASSERT_TRUE((*file)->WriteAt(HostOffset(kL1), table));
    }
    // The refcounts of the table: as many blocks as it takes are left out; its clusters lie beyond
    // what is counted and are protected by the places of tables alone.
  }
  Result<std::unique_ptr<WritableImage>> Open() {
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    if (!file) return std::unexpected(file.error());
    return OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{8 << 20};
};

TEST_F(TableMemory, AClaimCostsNothing) {
  MakeClaiming(nullptr);
  std::atomic<uint64_t> read = 0;
  host_->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kRead) read += call.length;
    return 0;
  });
  auto image = Open();
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_LE(read.load(), 256u << 10) << "the table is not even looked at";
  EXPECT_EQ(cache_.UsedBytes(), 0u);
  std::vector<std::byte> bytes(512);
  const auto extent = (*image)->Map(GuestOffset(0), 1 << 20, MapDetail::kFast);
  ASSERT_TRUE(extent);
  EXPECT_EQ(extent->length, 1u << 20);
  EXPECT_LE(cache_.UsedBytes(), 8u << 10);
  EXPECT_TRUE((*image)->Write(GuestOffset(0), bytes, nullptr));
  EXPECT_LE(cache_.UsedBytes(), 64u << 10);
  EXPECT_TRUE((*image)->Close());
  image->reset();
  EXPECT_EQ(cache_.UsedBytes(), 0u);
}

TEST_F(TableMemory, MoreTablesThanFitAreRefusedForWritingOnly) {
  MakeClaiming(
      [](uint64_t i) { return kEntryCopied | (kL1 + (1 << 26) + (2 * i + 1) * kCluster); });
  auto image = Open();
  ASSERT_TRUE(image) << image.error().message;
  EXPECT_TRUE((*image)->Map(GuestOffset(0), 512, MapDetail::kFast));
  const Status written = (*image)->Write(GuestOffset(0), std::vector<std::byte>(512), nullptr);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kNoMemory) << written.error().message;
  EXPECT_TRUE(written.error().message.contains("metadata_memory")) << written.error().message;
  EXPECT_LE(cache_.UsedBytes(), 64u << 10) << "nothing is kept of the attempt";
}

TEST_F(TableMemory, OverlapsInALargeTableAreFoundAtTheFirstWrite) {
  MakeClaiming([](uint64_t i) { return i == 77777 ? kEntryCopied | kL1 : 0; });
  auto image = Open();
  ASSERT_TRUE(image) << image.error().message;
  const Status written = (*image)->Write(GuestOffset(0), std::vector<std::byte>(512), nullptr);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kReadOnly) << written.error().message;
  EXPECT_FALSE((*image)->writable());
  EXPECT_TRUE((*image)->read_only_reason().contains("corrupt")) << (*image)->read_only_reason();
  EXPECT_TRUE((*image)->Flush());
}

TEST_F(TableMemory, WhatIsChargedMakesSlicesGo) {
  const uint64_t owner = cache_.NewOwner();
  for (uint64_t i = 0; i < 4096; ++i) {
    ASSERT_TRUE(cache_.PutZeroed(owner, HostOffset(i * 4096), 4096));
  }
  EXPECT_GT(cache_.UsedBytes(), 7u << 20);
  EXPECT_FALSE(cache_.Charge(0, 5 << 20)) << "more than half for one image";
  EXPECT_FALSE(cache_.Charge(3 << 20, 2 << 20)) << "the same, bit by bit";
  ASSERT_TRUE(cache_.Charge(0, 4 << 20));
  ASSERT_TRUE(cache_.Charge(0, 3 << 20));
  EXPECT_FALSE(cache_.Charge(0, 2 << 20)) << "more than there is";
  for (uint64_t i = 4096; i < 8192; ++i) {
    ASSERT_TRUE(cache_.PutZeroed(owner, HostOffset(i * 4096), 4096));
  }
  EXPECT_LE(cache_.UsedBytes(), 8u << 20);
  cache_.Discharge(7 << 20);
  cache_.DropOwner(owner);
  EXPECT_EQ(cache_.UsedBytes(), 0u);
}

TEST_F(TableMemory, ForgottenSlicesAreReadAnew) {
  const uint64_t owner = cache_.NewOwner();
  const auto old = cache_.PutZeroed(owner, HostOffset(8192), 4096);
  ASSERT_TRUE(old);
  (*old)->StoreWord(3, 7);
  cache_.Forget(owner, HostOffset(4096), 3 * 4096, 4096);
  const auto anew = cache_.PutZeroed(owner, HostOffset(8192), 4096);
  ASSERT_TRUE(anew);
  EXPECT_EQ((*anew)->LoadWord(3), 0u);
  EXPECT_EQ((*old)->LoadWord(3), 7u);
}

// L1 tables of many slices, of which only the first are held, with a cache that keeps nothing; the
// table grows again and again, and its old places become other tables.
TEST_F(TableMemory, LargeL1TablesShowTheSame) {
  MetadataCache nothing(0);
  Random random;
  uint64_t size = 12 << 20;
  ASSERT_TRUE(
      CreateQcow2(*host_->OpenRoot(), "a.qcow2", {.virtual_size = size, .cluster_bits = 9}));
  const auto open = [&] {
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    auto image = OpenQcow2Image(*std::move(file), nothing, {.owner = nothing.NewOwner()});
    EXPECT_TRUE(image) << image.error().message;
    return *std::move(image);
  };
  std::unique_ptr<WritableImage> image = open();
  std::vector<std::byte> expected(size);
  for (int round = 0; round < 6; ++round) {
    ImageModel model(*image, nullptr, expected);
    for (int i = 0; i < 60; ++i) {
      const Status done = model.RandomOperation(random, 16 << 10);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(model.Verify(), "");
    expected = model.expected();
    if (round % 2 == 0) {
      ASSERT_TRUE(image->Close());
      image = open();
    }
    size += random.Between(1, 8) << 20;
    ASSERT_TRUE(image->Grow(size, nullptr, 0));
    expected.resize(size);
  }
  ASSERT_TRUE(image->Close());
  const auto report = CheckQcow2(image->file());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
  EXPECT_EQ(report->leaks, 0u);
}

}  // namespace
}  // namespace chainfs::qcow2
