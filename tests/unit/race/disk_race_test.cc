// SPDX-License-Identifier: Apache-2.0
//
// A guest's write against the switch of the active layer that a snapshot makes: whichever is first,
// the write is in one layer as a whole, and in the frozen one only if its flush covered it.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/chain/disk.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;
constexpr uint64_t kSize = 1 << 20;

class DiskRaceTest : public testing::Test {
 protected:
  void SetUp() override {
    chain_.AddRawBase(random_, kSize);
    chain_.AddRandom(random_, kSize, kCluster);
    disk_ = Disk::Open("vm1", chain_.layers(), context_).value();
    ASSERT_TRUE(disk_->AllowWriting());
    random_.Fill(data_);
    overlay_ = MakeLayer(
        context_, "overlay",
        std::make_unique<FakeImage>(NewMemFile(*host_, "overlay"), kSize, kCluster, false));
  }
  bool OverlayHasIt() {
    return overlay_->image->Map(GuestOffset(0), kCluster, MapDetail::kFast).value().kind ==
           ExtentKind::kData;
  }
  void ExpectShown() {
    Buffer shown(kCluster);
    ASSERT_TRUE(disk_->Read(GuestOffset(0), shown));
    EXPECT_EQ(shown, data_);
  }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  std::unique_ptr<Disk> disk_;
  LayerPtr overlay_;
  Buffer data_ = Buffer(kCluster);
};

TEST_F(DiskRaceTest, AWriteThatChoseItsLayerEndsBeforeTheSwitch) {
  const LayerPtr old = disk_->chain()->active;
  std::atomic<bool> switch_waits = false;
  std::atomic<bool> durable = false;
  std::thread switcher;
  const SyncPointHook closes("Disk.SwitchActive.closing-gate", [&] { switch_waits = true; });
  const SyncPointHook chosen("Disk.ChangeActive.chain-chosen", [&] {
    switcher = std::thread([&] {
      EXPECT_TRUE(disk_->SwitchActive(overlay_, [&]() -> Status {
        durable = true;
        return {};
      }));
    });
    while (!switch_waits) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(durable);
    EXPECT_EQ(disk_->chain()->active, old);
  });
  ASSERT_TRUE(disk_->Write(GuestOffset(0), data_));
  switcher.join();
  EXPECT_EQ(disk_->chain()->active, overlay_);
  EXPECT_FALSE(OverlayHasIt());
  ExpectShown();
}

TEST_F(DiskRaceTest, AWriteThatComesDuringTheSwitchGoesToTheOverlay) {
  std::atomic<bool> comes = false;
  std::atomic<bool> written = false;
  std::thread writer;
  const SyncPointHook waits("Disk.ChangeActive.waiting-for-gate", [&] { comes = true; });
  ASSERT_TRUE(disk_->SwitchActive(overlay_, [&]() -> Status {
    writer = std::thread([&] {
      EXPECT_TRUE(disk_->Write(GuestOffset(0), data_));
      written = true;
    });
    while (!comes) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(written) << "a write passed a closed gate";
    return {};
  }));
  writer.join();
  EXPECT_TRUE(OverlayHasIt());
  ExpectShown();
}

}  // namespace
}  // namespace chainfs
