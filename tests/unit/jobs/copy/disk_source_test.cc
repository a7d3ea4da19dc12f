// SPDX-License-Identifier: Apache-2.0
//
// DiskSource: what a disk shows, active layer included, while its list of layers changes.
#include "jobs/copy/disk_source.h"

#include <gtest/gtest.h>

#include "jobs/copy/range_copier.h"
#include "tests/unit/chain/fake_image.h"
#include "tests/unit/jobs/copy/memory_sink.h"

namespace chainfs::jobs {
namespace {

constexpr uint32_t kCluster = 4096;
constexpr uint64_t kSize = 16 * kCluster;

class DiskSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    chain_.Add(kSize, kCluster);
    for (uint64_t i : {0u, 1u, 5u}) chain_.FillData(i, Buffer(kCluster, std::byte{1}));
    chain_.Add(kSize, kCluster);
    chain_.FillData(1, Buffer(kCluster, std::byte{2}));
    disk_ = Disk::Open("vm1", chain_.layers(), context_).value();
    ASSERT_TRUE(disk_->AllowWriting());
  }
  LayerPtr Overlay() {
    return MakeLayer(context_, "overlay",
                     std::make_unique<FakeImage>(NewMemFile(*host_, "overlay"), kSize, kCluster));
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  DiskPtr disk_;
};

TEST_F(DiskSourceTest, LayersCountFromTheActiveOne) {
  const DiskSource source(disk_, context_);
  EXPECT_EQ(source.size(), kSize);
  const auto view = source.EnterReading();
  EXPECT_EQ(view->Map(GuestOffset(0), kSize)->layer, 1u);
  EXPECT_EQ(view->Map(GuestOffset(kCluster), kSize)->layer, 0u);
  EXPECT_EQ(view->Map(GuestOffset(2 * kCluster), kSize)->kind, ExtentKind::kUnallocated);
  EXPECT_EQ(view->HostFile(0, 0), &disk_->chain()->active->image->file());
  EXPECT_EQ(view->HostFile(1, 0), &chain_.layers()[1]->image->file());
}

TEST_F(DiskSourceTest, PastTheEndIsZeros) {
  const DiskSource source(disk_, context_);
  const auto view = source.EnterReading();
  const auto extent = view->Map(GuestOffset(kSize), 100);
  ASSERT_TRUE(extent);
  EXPECT_EQ(extent->kind, ExtentKind::kZero);
  EXPECT_EQ(extent->layer, 0u);
  Buffer out(2 * kCluster, std::byte{9});
  ASSERT_TRUE(view->Read(GuestOffset(kSize - kCluster), out));
  EXPECT_EQ(out, Buffer(2 * kCluster));
  ASSERT_TRUE(view->Read(GuestOffset(2 * kSize), out));
}

TEST_F(DiskSourceTest, AViewIsOfOneListAndSeesWhatIsWritten) {
  const DiskSource source(disk_, context_);
  auto before = source.EnterReading();
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), []() -> Status { return {}; }));
  ASSERT_TRUE(disk_->Write(GuestOffset(0), Buffer(kCluster, std::byte{3})));
  const auto after = source.EnterReading();
  EXPECT_EQ(before->Map(GuestOffset(0), kCluster)->layer, 1u);
  EXPECT_EQ(after->Map(GuestOffset(0), kCluster)->layer, 0u);
  EXPECT_EQ(after->Map(GuestOffset(kCluster), kCluster)->layer, 1u);
  Buffer out(kCluster);
  ASSERT_TRUE(before->Read(GuestOffset(0), out));
  EXPECT_EQ(out, Buffer(kCluster, std::byte{1}));
  ASSERT_TRUE(after->Read(GuestOffset(0), out));
  EXPECT_EQ(out, Buffer(kCluster, std::byte{3}));
}

TEST_F(DiskSourceTest, WhatTheActiveLayerOwnsAloneIsCopied) {
  const DiskSource source(disk_, context_);
  MemorySink sink(Buffer(kSize), kCluster);
  RangeCopier copier(source, sink, {.layers = 1});
  EXPECT_EQ(copier.Process(0, kSize).value(), uint64_t{kCluster});
  EXPECT_EQ(sink.done(), ".s..............");
}

TEST_F(DiskSourceTest, ReadingIsNoLoadOfAGuest) {
  const DiskSource source(disk_, context_);
  MemorySink sink(Buffer(kSize), kCluster);
  sink.can_share = false;
  RangeCopier copier(source, sink, {});
  ASSERT_TRUE(copier.Process(0, kSize));
  EXPECT_EQ(sink.bytes(), chain_.shown());
  EXPECT_EQ(disk_->load().reads.operations(), 0u);
}

}  // namespace
}  // namespace chainfs::jobs
