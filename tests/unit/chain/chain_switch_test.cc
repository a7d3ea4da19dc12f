// SPDX-License-Identifier: Apache-2.0
//
// ChainSwitch, by the changes of a disk that use it: a disk that goes on with a layer below its
// active one while it is in use, and what becomes of who still has the old list.
#include "blocklayer/chain/chain_switch.h"

#include <gtest/gtest.h>

#include <thread>

#include "blocklayer/chain/stack_registry.h"
#include "tests/support/stamp.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;
constexpr uint64_t kSize = 1 << 18;
constexpr uint64_t kClusters = kSize / kCluster;

const std::function<Status()> kFine = []() -> Status { return {}; };

class ChainSwitchTest : public testing::Test {
 protected:
  void Start() {
    disk_ = Disk::Open("vm1", chain_.layers(), context_).value();
    ASSERT_TRUE(disk_->AllowWriting());
  }
  LayerPtr Overlay(uint64_t size = kSize) {
    const std::string name = "overlay" + std::to_string(overlays_++);
    return MakeLayer(context_, name,
                     std::make_unique<FakeImage>(NewMemFile(*host_, name), size, kCluster, true));
  }
  // The layer at `index` and all that is below it.
  Layers From(size_t index) const {
    const Layers layers = disk_->chain()->AllLayers();
    return Layers(layers.begin() + static_cast<ptrdiff_t>(index), layers.end());
  }
  // Everything that the disk shows is written into `to`.
  Status CopyInto(const LayerPtr& to) {
    Buffer data(kCluster);
    for (uint64_t at = 0; at < kSize; at += kCluster) {
      CHAINFS_TRY(disk_->Read(GuestOffset(at), data));
      CHAINFS_TRY(to->image->writer()->Write(GuestOffset(at), data, nullptr));
    }
    return {};
  }
  Status MergeBack(size_t index) {
    const Layers layers = From(index);
    return disk_->ContinueOn(layers, [&] { return CopyInto(layers.front()); }, kFine);
  }
  void Fill(uint64_t cluster, uint8_t with) {
    ASSERT_TRUE(disk_->Write(GuestOffset(cluster * kCluster), Buffer(kCluster, std::byte{with})));
  }
  uint8_t ByteAt(const Chain& chain, uint64_t cluster) {
    Buffer out(1);
    const auto read = chain.Read(context_.decoded(), GuestOffset(cluster * kCluster), out);
    return read ? static_cast<uint8_t>(out[0]) : 0xEE;
  }
  uint8_t ByteAt(uint64_t cluster) { return ByteAt(*disk_->chain(), cluster); }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  std::unique_ptr<Disk> disk_;
  int overlays_ = 0;
};

TEST_F(ChainSwitchTest, ADiskGoesOnWithALayerBelow) {
  chain_.Add(kSize, kCluster, true);
  chain_.FillData(0, Buffer(kCluster, std::byte{1}));
  Start();
  const LayerPtr base = disk_->chain()->active;
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
  Fill(1, 2);
  const uint64_t generation = disk_->chain()->generation;
  bool recorded = false;
  const Layers layers = From(1);
  const Status moved = disk_->ContinueOn(
      layers, [&] { return CopyInto(base); },
      [&]() -> Status {
        EXPECT_GE(AsFake(base).flushes.load(), 1u) << "all is in the base before it is recorded";
        recorded = true;
        return {};
      });
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_TRUE(recorded);
  EXPECT_EQ(disk_->chain()->active, base);
  EXPECT_EQ(disk_->chain()->depth(), 1u);
  EXPECT_EQ(disk_->chain()->generation, generation + 1);
  EXPECT_FALSE(disk_->NeedsFlush());
  EXPECT_EQ(ByteAt(0), 1);
  EXPECT_EQ(ByteAt(1), 2);
  Fill(2, 3);
  EXPECT_EQ(ByteAt(2), 3);
  EXPECT_FALSE(context_.stacks().BeginWriting(*base)) << "the disk writes it";
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine)) << "and it can be frozen again";
  EXPECT_EQ(ByteAt(2), 3);
}

TEST_F(ChainSwitchTest, WhenAStepFailsTheDiskGoesOnAsItWas) {
  chain_.Add(kSize, kCluster, true);
  Start();
  const LayerPtr base = disk_->chain()->active;
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
  const ChainPtr before = disk_->chain();
  const auto no_room = []() -> Status { return Fail(ErrorKind::kNoSpace, "no room"); };
  EXPECT_EQ(disk_->ContinueOn(From(1), no_room, kFine).error().message, "no room");
  EXPECT_EQ(disk_->ContinueOn(From(1), kFine, no_room).error().message, "no room");
  AsFake(base).fail_flush = true;
  EXPECT_EQ(disk_->ContinueOn(From(1), kFine, kFine).error().kind, ErrorKind::kIo);
  AsFake(base).fail_flush = false;
  EXPECT_EQ(disk_->chain(), before);
  EXPECT_TRUE(context_.stacks().IsBacked(*base));
  EXPECT_FALSE(context_.stacks().BeginWriting(*base));
  Fill(0, 5);
  EXPECT_EQ(ByteAt(0), 5);
  EXPECT_TRUE(MergeBack(1));
}

TEST_F(ChainSwitchTest, AShorterLayerIsRefusedAndALongerOneMakesTheDiskLonger) {
  chain_.Add(kSize + kCluster, kCluster, true);
  chain_.Add(kSize - kCluster, kCluster, true);
  chain_.Add(kSize, kCluster, true);
  Start();
  const auto base_only = From(2);
  EXPECT_EQ(disk_->ContinueOn(From(1), kFine, kFine).error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(disk_->ContinueOn(base_only, [&] { return CopyInto(base_only[0]); }, kFine));
  EXPECT_EQ(disk_->size(), kSize + kCluster);
}

TEST_F(ChainSwitchTest, AReadOnlyDiskStaysWhereItIs) {
  chain_.Add(kSize, kCluster);
  chain_.Add(kSize, kCluster);
  disk_ = Disk::Open("vm1", chain_.layers(), context_).value();
  bool asked = false;
  const Status moved = disk_->ContinueOn(
      From(1),
      [&]() -> Status {
        asked = true;
        return {};
      },
      kFine);
  EXPECT_EQ(moved.error().kind, ErrorKind::kReadOnly);
  EXPECT_FALSE(asked);
}

TEST_F(ChainSwitchTest, ADiskGoesOnWithAnImageOutsideItsChain) {
  chain_.Add(kSize, kCluster);
  chain_.FillData(3, Buffer(kCluster, std::byte{9}));
  chain_.Add(kSize, kCluster);
  Start();
  Fill(1, 2);
  const LayerPtr target = Overlay();
  // It stands on what the disk stands on.
  Layers layers = From(1);
  layers.insert(layers.begin(), target);
  ASSERT_TRUE(disk_->ContinueOn(layers, [&] { return CopyInto(target); }, kFine));
  EXPECT_EQ(ByteAt(1), 2);
  EXPECT_EQ(ByteAt(3), 9);
  Fill(1, 7);
  EXPECT_EQ(ByteAt(1), 7);
}

TEST_F(ChainSwitchTest, ATargetMayStandOnTheActiveLayerItself) {
  chain_.Add(kSize, kCluster);
  Start();
  Fill(1, 2);
  const LayerPtr target = Overlay();
  Layers layers = From(0);
  layers.insert(layers.begin(), target);
  ASSERT_TRUE(disk_->ContinueOn(layers, kFine, kFine));
  EXPECT_EQ(ByteAt(1), 2);
  Fill(1, 3);
  EXPECT_EQ(disk_->chain()->depth(), 2u);
  EXPECT_EQ(ByteAt(1), 3);
}

// CHN-15: who has the old list ends its read with it, and no place that it may name is used anew.
TEST_F(ChainSwitchTest, WhoHasTheOldListReadsNoPlaceThatWasUsedAnew) {
  chain_.Add(kSize, kCluster, true);
  for (uint64_t i = 0; i < 4; ++i) chain_.FillData(i, Buffer(kCluster, std::byte{1}));
  Start();
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
  ChainPtr old = disk_->chain();
  ASSERT_TRUE(disk_->ContinueOn(From(1), kFine, kFine));
  EXPECT_EQ(ByteAt(*old, 2), 1);  // the index names the place
  ASSERT_TRUE(disk_->Discard(GuestOffset(2 * kCluster), kCluster));
  for (uint64_t i = 8; i < 40; ++i) Fill(i, 7);
  EXPECT_EQ(ByteAt(*old, 2), 1);
  old = nullptr;
  // Then they are.
  const uint64_t size = AsFake(disk_->chain()->active).file().Size().value();
  for (uint64_t i = 40; i < 44; ++i) Fill(i, 7);
  EXPECT_LT(AsFake(disk_->chain()->active).file().Size().value(), size + 4 * kCluster);
}

TEST_F(ChainSwitchTest, TheIndexOfARetiredStackIsNobodysAnyMore) {
  chain_.Add(kSize, kCluster, true);
  chain_.FillData(0, Buffer(kCluster, std::byte{1}));
  Start();
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
  const ChainPtr old = disk_->chain();
  EXPECT_EQ(ByteAt(1), 0);  // the index says that nobody has it
  ASSERT_TRUE(disk_->ContinueOn(From(1), kFine, kFine));
  Fill(1, 6);
  // The same list of layers is a stack again; the old one lives, and is another one.
  ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
  EXPECT_EQ(ByteAt(1), 6);
  EXPECT_NE(disk_->chain()->below, old->below);
  EXPECT_TRUE(context_.stacks().IsBacked(*old->below->layers().front()));
}

TEST_F(ChainSwitchTest, TheLayerThatWasLeftIsNotWrittenWhileTheOldListIsRead) {
  chain_.Add(kSize, kCluster);
  chain_.Add(kSize, kCluster);
  Start();
  const LayerPtr left = disk_->chain()->active;
  ChainPtr old = disk_->chain();
  ASSERT_TRUE(MergeBack(1));
  EXPECT_FALSE(context_.stacks().BeginWriting(*left));
  old = nullptr;
  EXPECT_TRUE(context_.stacks().BeginWriting(*left));
  context_.stacks().EndWriting(*left);
}

// Every sector is stamped; overlays come and are merged back while guests read, write and discard.
TEST_F(ChainSwitchTest, ReadersAndWritersWhileOverlaysComeAndGo) {
  constexpr uint64_t kSectors = kSize / 512;
  SectorModel model(1, kSectors);
  chain_.Add(kSize, kCluster, true);
  for (uint64_t i = 0; i < kClusters; i += 2) {
    Buffer data(kCluster);
    model.Preload(i * kCluster / 512, data);
    chain_.FillData(i, data);
  }
  chain_.Add(kSize, kCluster, true);
  Start();
  Random seeds;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> reads = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, random = seeds.Fork()]() mutable {
      while (!stop) {
        const uint64_t lba = random.Below(kSectors);
        Buffer out(std::min<uint64_t>(kSectors - lba, random.Between(1, 40)) * 512);
        const uint64_t begin = model.BeginRead();
        const auto read = disk_->Read(GuestOffset(lba * 512), out);
        ASSERT_TRUE(read) << read.error().message;
        ASSERT_EQ(model.CheckRead(begin, lba, out), "");
        reads.fetch_add(1);
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, random = seeds.Fork()]() mutable {
      while (!stop) {
        const uint64_t lba = random.Below(kSectors);
        const uint64_t count = std::min<uint64_t>(kSectors - lba, random.Between(1, 24));
        if (random.OneIn(4)) {
          const uint64_t first = RoundDown(lba, 8);
          const auto ticket = model.BeginDiscard(first, 8);
          ASSERT_TRUE(disk_->Discard(GuestOffset(first * 512), kCluster));
          model.End(ticket);
        } else {
          Buffer data(count * 512);
          const auto ticket = model.BeginWrite(lba, data);
          ASSERT_TRUE(disk_->Write(GuestOffset(lba * 512), data));
          model.End(ticket);
        }
      }
    });
  }
  for (int round = 0; round < 40 && !HasFailure(); ++round) {
    ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
    if (round % 3 == 2) {
      ASSERT_TRUE(disk_->SwitchActive(Overlay(), kFine));
    }
    const uint64_t some = reads + 5;
    while (reads < some && !HasFailure()) std::this_thread::yield();
    const Status merged = MergeBack(disk_->chain()->depth() - 2);
    ASSERT_TRUE(merged) << merged.error().message;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  Buffer all(kSize);
  const uint64_t begin = model.BeginRead();
  ASSERT_TRUE(disk_->Read(GuestOffset(0), all));
  EXPECT_EQ(model.CheckRead(begin, 0, all), "");
}

}  // namespace
}  // namespace chainfs
