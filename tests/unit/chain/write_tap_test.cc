// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/write_tap.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>

#include "blocklayer/chain/disk.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;
constexpr uint64_t kSize = 1 << 20;

// Saves what a change is about to take away, as a backup does, and notes what has changed, as a
// mirror does.
class Watcher final : public WriteTap {
 public:
  Watcher(Disk& disk, const Buffer& shown)
      : disk_(disk), before_(shown), dirty_(kSize / kCluster) {}

  Status BeforeChange(GuestOffset offset, uint64_t length) override {
    if (refuse) return Fail(ErrorKind::kIo, "the tap refuses");
    Buffer old(length);
    CHAINFS_TRY(disk_.Read(offset, old));
    const MutexLock lock(mu_);
    for (uint64_t i = 0; i < old.size() && offset.value + i < kSize; ++i) {
      wrong_ |= old[i] != before_[offset.value + i];
    }
    return {};
  }
  void AfterChange(GuestOffset offset, uint64_t length) noexcept override {
    const MutexLock lock(mu_);
    ++told_;
    const uint64_t end = std::min(kSize, offset.value + length);
    for (uint64_t at = offset.value; at < end; at = (at / kCluster + 1) * kCluster) {
      dirty_[at / kCluster] = true;
    }
  }
  bool wrong() {
    const MutexLock lock(mu_);
    return wrong_;
  }
  int told() {
    const MutexLock lock(mu_);
    return told_;
  }
  bool dirty(uint64_t cluster) {
    const MutexLock lock(mu_);
    return dirty_[cluster];
  }
  std::atomic<bool> refuse = false;

 private:
  Disk& disk_;
  const Buffer before_;
  Mutex mu_;
  bool wrong_ GUARDED_BY(mu_) = false;
  int told_ GUARDED_BY(mu_) = 0;
  std::vector<bool> dirty_ GUARDED_BY(mu_);
};

class WriteTapTest : public testing::Test {
 protected:
  WriteTapTest() {
    chain_.AddRandom(random_, kSize, kCluster);
    chain_.Add(kSize, kCluster);
    disk_ = Disk::Open("vm", chain_.layers(), context_).value();
    EXPECT_TRUE(disk_->AllowWriting());
    tap_ = std::make_shared<Watcher>(*disk_, chain_.shown());
  }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  std::unique_ptr<Disk> disk_;
  std::shared_ptr<Watcher> tap_;
};

TEST_F(WriteTapTest, SeesEveryKindOfChangeBeforeAndAfter) {
  disk_->AddTap(tap_);
  ASSERT_TRUE(disk_->Write(GuestOffset(5000), Buffer(100)));
  EXPECT_TRUE(tap_->dirty(1));
  EXPECT_FALSE(tap_->dirty(2));
  ASSERT_TRUE(disk_->WriteZeroes(GuestOffset(5 * kCluster), kCluster, false));
  ASSERT_TRUE(disk_->Discard(GuestOffset(9 * kCluster), 2 * kCluster));
  ASSERT_TRUE(disk_->Grow(kSize + kCluster));
  EXPECT_EQ(tap_->told(), 4);
  EXPECT_TRUE(tap_->dirty(5) && tap_->dirty(9) && tap_->dirty(10));
  EXPECT_FALSE(tap_->wrong()) << "BeforeChange came after the change";
  disk_->RemoveTap(*tap_);
  ASSERT_TRUE(disk_->Write(GuestOffset(0), Buffer(100)));
  EXPECT_EQ(tap_->told(), 4);
  EXPECT_EQ(tap_.use_count(), 1);
}

TEST_F(WriteTapTest, OneThatRefusesFailsTheChange) {
  disk_->AddTap(tap_);
  const auto second = std::make_shared<Watcher>(*disk_, chain_.shown());
  disk_->AddTap(second);
  tap_->refuse = true;
  EXPECT_EQ(disk_->Write(GuestOffset(0), Buffer(512, std::byte{1})).error().kind, ErrorKind::kIo);
  Buffer read(512);
  ASSERT_TRUE(disk_->Read(GuestOffset(0), read));
  EXPECT_TRUE(std::ranges::equal(read, std::span(chain_.shown()).first(512)));
  EXPECT_EQ(tap_->told(), 1);
  EXPECT_EQ(second->told(), 0) << "it was not asked";
}

TEST_F(WriteTapTest, KeepsTheDiskFromGoingBack) {
  disk_->AddTap(tap_);
  ASSERT_TRUE(disk_->StopWriting());
  Layers older(chain_.layers().begin() + 1, chain_.layers().end());
  const auto durable = []() -> Status { return {}; };
  EXPECT_EQ(disk_->GoBack(older, durable).error().kind, ErrorKind::kBusy);
  disk_->RemoveTap(*tap_);
  EXPECT_TRUE(disk_->GoBack(older, durable));
}

// Whatever was not told to a tap had ended when AddTap returned: a copy that begins then misses
// nothing.
TEST_F(WriteTapTest, NoChangeFallsBetweenAddingAndBeingTold) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<bool> stop = false;
    std::vector<std::thread> writers;
    for (uint64_t i = 0; i < 3; ++i) {
      writers.emplace_back([&, i, mine = random_.Fork()]() mutable {
        while (!stop) {
          Buffer data(kCluster);
          mine.Fill(data);
          const uint64_t cluster = mine.Below(kSize / kCluster / 4) * 4 + i;
          ASSERT_TRUE(disk_->Write(GuestOffset(cluster * kCluster), data));
        }
      });
    }
    const auto mirror = std::make_shared<Watcher>(*disk_, chain_.shown());
    disk_->AddTap(mirror);
    Buffer copy(kSize);
    const Result<size_t> copied = disk_->Read(GuestOffset(0), copy);
    stop = true;
    for (std::thread& writer : writers) writer.join();
    ASSERT_TRUE(copied);
    disk_->RemoveTap(*mirror);
    Buffer now(kSize);
    ASSERT_TRUE(disk_->Read(GuestOffset(0), now));
    for (uint64_t cluster = 0; cluster < kSize / kCluster; ++cluster) {
      const auto at = std::span(now).subspan(cluster * kCluster, kCluster);
      const auto was = std::span(copy).subspan(cluster * kCluster, kCluster);
      EXPECT_TRUE(mirror->dirty(cluster) || std::ranges::equal(at, was)) << cluster;
    }
  }
}

TEST_F(WriteTapTest, HearsTheEndOfAChangeThatRunsOutOfMemory) {
  WriteTaps taps;
  taps.Add(tap_);
  EXPECT_THROW(
      (void)taps.Around(GuestOffset(0), kCluster, []() -> Status { throw std::bad_alloc(); }),
      std::bad_alloc);
  EXPECT_EQ(tap_->told(), 1);
  EXPECT_TRUE(tap_->dirty(0));
}

}  // namespace
}  // namespace chainfs
