// SPDX-License-Identifier: Apache-2.0
//
// Disk: a flat disk over a chain whose list of layers changes while it is in use.
#include "blocklayer/chain/disk.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/stamp.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;

class DiskTest : public testing::Test {
 protected:
  void Start(bool read_only = false) {
    disk_ = Disk::Open("vm1", chain_.layers(), context_).value();
    if (!read_only) {
      ASSERT_TRUE(disk_->AllowWriting());
    }
    shown_ = chain_.shown();
  }
  LayerPtr Overlay(uint64_t size, bool reuse = false) {
    const std::string name = "overlay" + std::to_string(overlays_++);
    return MakeLayer(context_, name,
                     std::make_unique<FakeImage>(NewMemFile(*host_, name), size, kCluster, reuse));
  }
  void Write(uint64_t offset, std::span<const std::byte> data) {
    ASSERT_TRUE(disk_->Write(GuestOffset(offset), data));
    std::ranges::copy(data, shown_.begin() + static_cast<int64_t>(offset));
  }
  void Verify() {
    ASSERT_EQ(disk_->size(), shown_.size());
    Buffer all(shown_.size() + 10);
    const auto read = disk_->Read(GuestOffset(0), all);
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(*read, shown_.size());
    all.resize(*read);
    ASSERT_EQ(all, shown_);
  }

  Random random_;
  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  std::unique_ptr<Disk> disk_;
  Buffer shown_;
  int overlays_ = 0;
};

const std::function<Status()> kDurable = []() -> Status { return {}; };

TEST_F(DiskTest, RandomReadsWritesSnapshotsAndMergesShowTheModel) {
  chain_.AddRawBase(random_, 3'000'000);
  chain_.AddRandom(random_, 2'500'096, 8192);
  chain_.AddRandom(random_, 3 << 20, kCluster);
  Start();
  for (int step = 0; step < 1500; ++step) {
    const uint64_t at = random_.Below(shown_.size());
    const uint64_t length = std::min(shown_.size() - at, random_.Between(1, 30'000));
    Buffer data(length);
    switch (random_.Below(20)) {
      case 0:
        ASSERT_TRUE(disk_->SwitchActive(Overlay(shown_.size()), kDurable));
        break;
      case 1: {
        // A stream of everything above a random layer into the active one.
        WritableImage& active = *disk_->chain()->active->image->writer();
        for (uint64_t i = 0; i < shown_.size(); i += kCluster) {
          ASSERT_TRUE(active.Populate(GuestOffset(i), std::span(shown_).subspan(i, kCluster)));
        }
        Layers layers = disk_->chain()->AllLayers();
        const auto keep = static_cast<int64_t>(random_.Below(layers.size()));
        layers.erase(layers.begin() + 1, layers.end() - keep);
        disk_->ReplaceLayers(layers);
        break;
      }
      case 2:
        ASSERT_TRUE(disk_->WriteZeroes(GuestOffset(at), length, random_.OneIn(2)));
        std::ranges::fill(std::span(shown_).subspan(at, length), std::byte{0});
        break;
      case 3:
        ASSERT_TRUE(disk_->Discard(GuestOffset(RoundDown(at, kCluster)), kCluster));
        std::ranges::fill(std::span(shown_).subspan(RoundDown(at, kCluster), kCluster),
                          std::byte{0});
        break;
      case 4:
        ASSERT_TRUE(disk_->Flush());
        break;
      case 5:
      case 6:
      case 7:
      case 8:
        random_.Fill(data);
        Write(at, data);
        break;
      default:
        ASSERT_EQ(disk_->Read(GuestOffset(at), data).value(), length);
        ASSERT_TRUE(std::ranges::equal(data, std::span(shown_).subspan(at, length))) << step;
    }
  }
  Verify();
}

TEST_F(DiskTest, ReadsStopAtTheEnd) {
  chain_.AddRawBase(random_, 10'000);
  Start();
  Buffer out(4096);
  EXPECT_EQ(disk_->size(), 10'240u);
  EXPECT_EQ(disk_->Read(GuestOffset(10'000), out).value(), 240u);
  EXPECT_EQ(disk_->Read(GuestOffset(10'240), out).value(), 0u);
  EXPECT_EQ(disk_->Read(GuestOffset(UINT64_MAX), out).value(), 0u);
  EXPECT_EQ(disk_->Read(GuestOffset(0), {}).value(), 0u);
  Verify();
}

TEST_F(DiskTest, SizesMayDifferAtEveryLevel) {
  for (const uint64_t size : {3ull << 20, 1ull << 20, 2ull << 20, 1ull << 19, 5ull << 20}) {
    chain_.AddRandom(random_, size, 16384);
  }
  Start();
  Verify();
  Buffer data(100'000);
  random_.Fill(data);
  Write((1 << 19) - 50'000, data);
  Verify();
}

TEST_F(DiskTest, WritesPastTheEndHaveNoSpace) {
  chain_.Add(1 << 20, kCluster);
  Start();
  int told = 0;
  disk_->errors().SetObserver([&](const Disk&, std::string_view, const Error&) { ++told; });
  const Buffer data(512);
  EXPECT_EQ(disk_->Write(GuestOffset((1 << 20) - 511), data).error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(disk_->Write(GuestOffset(UINT64_MAX), data).error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(disk_->Discard(GuestOffset(0), UINT64_MAX).error().kind, ErrorKind::kNoSpace);
  EXPECT_TRUE(disk_->Write(GuestOffset((1 << 20) - 512), data));
  EXPECT_EQ(told, 0);
}

TEST_F(DiskTest, ReadOnlyDisksSayWhy) {
  FakeImage& image = chain_.Add(1 << 20, kCluster);
  Start(true);
  EXPECT_TRUE(disk_->read_only());
  const Buffer data(512);
  EXPECT_EQ(disk_->Write(GuestOffset(0), data).error().kind, ErrorKind::kReadOnly);
  EXPECT_EQ(disk_->Grow(2 << 20).error().kind, ErrorKind::kReadOnly);
  ASSERT_TRUE(disk_->AllowWriting());
  EXPECT_FALSE(disk_->read_only());
  EXPECT_TRUE(disk_->Write(GuestOffset(0), data));
  image.read_only = true;
  EXPECT_TRUE(disk_->read_only());
  const Status refused = disk_->Write(GuestOffset(0), data);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("the test says so"), std::string::npos);
}

TEST_F(DiskTest, TheTimeOfTheLastWriteIsKept) {
  chain_.Add(1 << 20, kCluster);
  Start();
  const timespec before = disk_->modified();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  Buffer out(10);
  ASSERT_TRUE(disk_->Read(GuestOffset(0), out));
  EXPECT_FALSE(disk_->Write(GuestOffset(1 << 20), out));
  EXPECT_EQ(disk_->modified().tv_nsec, before.tv_nsec);
  ASSERT_TRUE(disk_->Write(GuestOffset(0), out));
  const timespec after = disk_->modified();
  EXPECT_TRUE(after.tv_sec > before.tv_sec ||
              (after.tv_sec == before.tv_sec && after.tv_nsec > before.tv_nsec));
}

TEST_F(DiskTest, EveryChangeNeedsAFlush) {
  FakeImage& image = chain_.Add(1 << 20, kCluster);
  Start();
  EXPECT_FALSE(disk_->NeedsFlush());
  const std::vector<std::function<Status()>> changes = {
      [&] { return disk_->Write(GuestOffset(0), Buffer(512)); },
      [&] { return disk_->WriteZeroes(GuestOffset(0), 512, true); },
      [&] { return disk_->WriteZeroes(GuestOffset(0), 512, false); },
      [&] { return disk_->Discard(GuestOffset(0), kCluster); },
      [&] { return disk_->Grow((1 << 20) + kCluster); },
      // One that fails may have done a part.
      [&]() -> Status {
        host_->AddFault({.matches = On(HostOp::kWrite), .error = ENOSPC});
        EXPECT_FALSE(disk_->Write(GuestOffset(0), Buffer(512)));
        return {};
      },
  };
  for (const std::function<Status()>& change : changes) {
    ASSERT_TRUE(change());
    EXPECT_TRUE(disk_->NeedsFlush());
    image.fail_flush = true;
    EXPECT_FALSE(disk_->Settle());
    EXPECT_TRUE(disk_->NeedsFlush());
    image.fail_flush = false;
    // Also when it has turned read-only meanwhile.
    ASSERT_TRUE(disk_->StopWriting());
    EXPECT_TRUE(disk_->NeedsFlush());
    ASSERT_TRUE(disk_->AllowWriting());
    ASSERT_TRUE(disk_->Settle());
    EXPECT_FALSE(disk_->NeedsFlush());
    const auto flushes = image.flushes.load();
    ASSERT_TRUE(disk_->Settle());
    EXPECT_EQ(image.flushes.load(), flushes);
  }
}

TEST_F(DiskTest, FailuresAreTold) {
  chain_.Add(1 << 20, kCluster);
  chain_.FillData(3, Buffer(kCluster, std::byte{7}));
  chain_.Add(1 << 20, kCluster);
  Start();
  std::vector<std::string> told;
  disk_->errors().SetObserver([&](const Disk& disk, std::string_view operation, const Error&) {
    EXPECT_EQ(disk.name(), "vm1");
    told.emplace_back(operation);
  });
  Buffer data(1 << 20, std::byte{1});
  host_->AddFault({.matches = On(HostOp::kRead), .forever = true});
  EXPECT_FALSE(disk_->Read(GuestOffset(0), data));
  host_->ClearFaults();
  host_->AddFault({.matches = On(HostOp::kWrite), .error = ENOSPC});
  EXPECT_EQ(disk_->Write(GuestOffset(0), data).error().kind, ErrorKind::kNoSpace);
  AsFake(disk_->chain()->active).fail_flush = true;
  EXPECT_FALSE(disk_->Flush());
  EXPECT_EQ(told, (std::vector<std::string>{"read", "write", "flush"}));
  EXPECT_TRUE(disk_->Write(GuestOffset(0), data));
}

TEST_F(DiskTest, GrowShowsZerosWhereTheBackingIsLonger) {
  chain_.Add(1 << 20, kCluster);
  for (uint64_t i = 0; i < 256; ++i) chain_.FillData(i, Buffer(kCluster, std::byte{7}));
  chain_.Add(1 << 19, kCluster);
  Start();
  EXPECT_EQ(disk_->Grow(4096).error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(disk_->Grow(1 << 19));
  ASSERT_TRUE(disk_->Grow(1 << 20));
  shown_.resize(1 << 20);
  Verify();
}

TEST_F(DiskTest, ShrinksWhereTheEndIsEmpty) {
  chain_.AddRawBase(random_, 64 * kCluster);
  chain_.Add(64 * kCluster, kCluster);
  for (uint64_t i = 40; i < 64; ++i) chain_.FillZero(i);
  chain_.FillData(30, Buffer(kCluster, std::byte{7}));
  Start();
  const Status refused = disk_->Shrink(30 * kCluster, Disk::Tail::kMustBeEmpty);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused.error().message,
            "vm1: there is data at 122880, which would be lost by shrinking from 262144 to 122880 "
            "bytes; discard it, or say shrink=yes");
  EXPECT_EQ(disk_->size(), 64 * kCluster);
  const Status grows = disk_->Shrink(65 * kCluster, Disk::Tail::kIsLost);
  ASSERT_FALSE(grows);
  ASSERT_TRUE(disk_->Shrink(40 * kCluster, Disk::Tail::kMustBeEmpty));
  shown_.resize(40 * kCluster);
  Verify();
  EXPECT_TRUE(disk_->NeedsFlush());
  // What is longer below stays hidden.
  ASSERT_TRUE(disk_->Grow(64 * kCluster));
  shown_.resize(64 * kCluster);
  Verify();
}

TEST_F(DiskTest, ShrinksWhateverIsThereIfTold) {
  chain_.Add(64 * kCluster, kCluster);
  for (uint64_t i = 0; i < 64; ++i) chain_.FillData(i, Buffer(kCluster, std::byte{7}));
  Start();
  ASSERT_TRUE(disk_->Shrink(10 * kCluster + 512, Disk::Tail::kIsLost));
  shown_.resize(10 * kCluster + 512);
  Verify();
  EXPECT_EQ(disk_->Write(GuestOffset(11 * kCluster), Buffer(1)).error().kind, ErrorKind::kNoSpace);
}

TEST_F(DiskTest, WhatAGuestPutsIntoTheEndKeepsItFromShrinking) {
  FakeImage& image = chain_.Add(64 * kCluster, kCluster);
  Start();
  // Just after the end was looked through.
  int maps = 0;
  image.on_map = [&] {
    if (++maps == 1) std::thread([&] { Write(50 * kCluster, Buffer(512, std::byte{7})); }).join();
  };
  const Status refused = disk_->Shrink(10 * kCluster, Disk::Tail::kMustBeEmpty);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("there is data at"), std::string::npos);
  Verify();
}

// Also when it has grown back before the reader looks at the size again.
TEST_F(DiskTest, WhatIsCutOffUnderAReaderIsThePlaceOfTheEnd) {
  constexpr uint64_t kWhole = 64 * kCluster;
  for (const uint64_t grown : {kWhole / 6 / kCluster * kCluster, kWhole / 2, kWhole, 2 * kWhole}) {
    const std::shared_ptr<MemHost> host = MemHost::Create();
    ChainBuilder chain(context_, *host);
    FakeImage& image = chain.Add(kWhole, kCluster);
    const auto disk = Disk::Open("vm2", chain.layers(), context_).value();
    ASSERT_TRUE(disk->AllowWriting());
    bool cut = false;
    image.on_map = [&] {
      if (!std::exchange(cut, true)) {
        EXPECT_TRUE(disk->Shrink(5 * kCluster, Disk::Tail::kIsLost));
      }
    };
    image.on_map_refused = [&] { EXPECT_TRUE(disk->Grow(grown)); };
    Buffer out(20 * kCluster);
    const Result<size_t> read = disk->Read(GuestOffset(kCluster), out);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, std::min<uint64_t>(out.size(), grown - kCluster));
    cut = false;
    const Result<StackExtent> extent =
        disk->Map(GuestOffset(8 * kCluster), kCluster, MapDetail::kFast);
    ASSERT_TRUE(extent) << extent.error().message;
    EXPECT_EQ(extent->length, kCluster);
  }
}

TEST_F(DiskTest, ReadsAndWritesWhileItShrinksAndGrows) {
  chain_.Add(64 * kCluster, kCluster);
  Start();
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i, random = random_.Fork()]() mutable {
      Buffer buffer(3 * kCluster);
      while (!stop) {
        const GuestOffset at(random.Below(62 * kCluster));
        if (i == 0) {
          const Status written = disk_->Write(at, buffer);
          EXPECT_TRUE(written || written.error().kind == ErrorKind::kNoSpace);
        } else {
          const auto read = disk_->Read(at, buffer);
          EXPECT_TRUE(read) << read.error().message;
          const auto extent = disk_->Map(at, buffer.size(), MapDetail::kPrecise);
          EXPECT_TRUE(extent) << extent.error().message;
        }
      }
    });
  }
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(disk_->Shrink(random_.Between(1, 64) * kCluster, Disk::Tail::kIsLost) ||
                disk_->size() < 64 * kCluster);
    ASSERT_TRUE(disk_->Grow(64 * kCluster));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(DiskTest, MapNamesTheLayer) {
  chain_.Add(1 << 20, kCluster);
  chain_.FillData(0, Buffer(kCluster, std::byte{1}));
  chain_.Add(1 << 19, kCluster);
  chain_.FillZero(1);
  chain_.Add(1 << 20, kCluster);
  chain_.FillData(2, Buffer(kCluster, std::byte{1}));
  Start();
  const auto at = [&](uint64_t cluster) {
    return disk_->Map(GuestOffset(cluster * kCluster), 1 << 20, MapDetail::kPrecise).value();
  };
  EXPECT_EQ(at(0).kind, ExtentKind::kData);
  EXPECT_EQ(at(0).layer, 2u);
  EXPECT_EQ(at(0).length, kCluster);
  EXPECT_EQ(at(1).kind, ExtentKind::kZero);
  EXPECT_EQ(at(1).layer, 1u);
  EXPECT_EQ(at(2).kind, ExtentKind::kData);
  EXPECT_EQ(at(2).layer, 0u);
  EXPECT_EQ(at(3).kind, ExtentKind::kUnallocated);
  EXPECT_EQ(at(3).length, 125u * kCluster);
  // Past the end of the middle layer, which therefore decides.
  EXPECT_EQ(at(128).kind, ExtentKind::kZero);
  EXPECT_EQ(at(128).layer, 1u);
  EXPECT_EQ(disk_->Map(GuestOffset(1 << 20), 1, MapDetail::kFast)->length, 0u);
}

TEST_F(DiskTest, AllocatedBytesCountEveryLayer) {
  chain_.Add(1 << 20, kCluster);
  chain_.FillData(0, Buffer(kCluster, std::byte{1}));
  chain_.Add(1 << 20, kCluster);
  chain_.FillData(5, Buffer(kCluster, std::byte{1}));
  Start();
  uint64_t sum = 0;
  for (const LayerPtr& layer : disk_->chain()->AllLayers()) {
    sum += layer->image->AllocatedBytes().value();
  }
  EXPECT_EQ(disk_->chain()->AllocatedBytes().value(), sum);
  EXPECT_GE(sum, 2u * kCluster);
}

TEST_F(DiskTest, ASwitchFreezesTheOldLayer) {
  chain_.AddRandom(random_, 1 << 20, kCluster);
  Start();
  const LayerPtr old = disk_->chain()->active;
  Write(5000, Buffer(100, std::byte{3}));
  const uint64_t generation = disk_->chain()->generation;
  uint64_t flushed = 0;
  ASSERT_TRUE(disk_->SwitchActive(Overlay(1 << 20), [&]() -> Status {
    flushed = AsFake(old).flushes.load();
    EXPECT_EQ(disk_->chain()->active, old);  // not yet published
    return {};
  }));
  EXPECT_GE(flushed, 2u);  // outside the gate and within
  EXPECT_EQ(disk_->chain()->generation, generation + 1);
  EXPECT_EQ(disk_->chain()->depth(), 2u);
  EXPECT_EQ(disk_->chain()->AllLayers()[1], old);
  const Buffer frozen = host_->Contents(old->name);
  Write(100'000, Buffer(50'000, std::byte{4}));
  EXPECT_EQ(host_->Contents(old->name), frozen);
  Verify();
}

TEST_F(DiskTest, AFailedSwitchChangesNothing) {
  FakeImage& image = chain_.Add(1 << 20, kCluster);
  Start();
  const ChainPtr before = disk_->chain();
  const Status failed = disk_->SwitchActive(
      Overlay(1 << 20), []() -> Status { return Fail(ErrorKind::kNoSpace, "no room"); });
  EXPECT_EQ(failed.error().message, "no room");
  EXPECT_EQ(disk_->SwitchActive(Overlay(1 << 19), kDurable).error().kind, ErrorKind::kStale);
  image.fail_flush = true;
  EXPECT_FALSE(disk_->SwitchActive(Overlay(1 << 20), kDurable));
  EXPECT_EQ(disk_->chain(), before);
  Write(0, Buffer(512, std::byte{1}));
  Verify();
}

// A writer under way holds the switch up: what it was acknowledged for must be in the old layer
// before that is frozen. Without the closer's word constant writers would hold it up for ever,
// because the lock prefers readers.
TEST_F(DiskTest, ASwitchWaitsForWritersAndGetsThroughConstantWrites) {
  std::atomic<int> writing = 0;
  const auto slow = [&] {
    writing.fetch_add(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    writing.fetch_sub(1);
  };
  chain_.Add(1 << 20, kCluster).on_write = slow;
  Start();
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        EXPECT_TRUE(disk_->Write(GuestOffset(static_cast<uint64_t>(i) * 512), Buffer(512)));
      }
    });
  }
  for (int i = 0; i < 5; ++i) {
    const LayerPtr overlay = Overlay(1 << 20);
    AsFake(overlay).on_write = slow;
    while (writing == 0) std::this_thread::yield();
    EXPECT_TRUE(disk_->SwitchActive(overlay, [&]() -> Status {
      EXPECT_EQ(writing.load(), 0);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_EQ(writing.load(), 0);
      return {};
    }));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

// The reader has looked up where its bytes lie and is about to read them. Meanwhile the cluster is
// discarded and as many new ones are written as it takes to use its place again, were that allowed.
TEST_F(DiskTest, AReadUnderWayNeverSeesAReusedCluster) {
  chain_.Add(1 << 20, kCluster, true);
  chain_.FillData(0, Buffer(kCluster, std::byte{0x11}));
  Start();
  std::atomic<int> phase = 0;
  host_->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kRead && phase == 0) {
      phase = 1;
      while (phase == 1) std::this_thread::yield();
    }
    return 0;
  });
  Buffer out(kCluster);
  std::thread reader([&] { EXPECT_EQ(disk_->Read(GuestOffset(0), out).value(), kCluster); });
  while (phase == 0) std::this_thread::yield();
  EXPECT_TRUE(disk_->Discard(GuestOffset(0), kCluster));
  for (uint64_t i = 1; i < 20; ++i) {
    EXPECT_TRUE(disk_->Write(GuestOffset(i * kCluster), Buffer(kCluster, std::byte{0x22})));
  }
  phase = 2;
  reader.join();
  EXPECT_EQ(out, Buffer(kCluster, std::byte{0x11}));
}

// Every sector is stamped; no reader ever sees a value that was overwritten before it began, or
// another sector's, while layers come and go and clusters are freed and used again.
TEST_F(DiskTest, ReadersAndWritersWhileTheListChanges) {
  constexpr uint64_t kSize = 1 << 20;
  constexpr uint64_t kSectors = kSize / 512;
  SectorModel model(1, kSectors);
  chain_.Add(kSize, kCluster, true);
  for (uint64_t i = 0; i < kSize / kCluster; i += 2) {
    Buffer data(kCluster);
    model.Preload(i * kCluster / 512, data);
    chain_.FillData(i, data);
  }
  chain_.Add(kSize, kCluster, true);
  Start();
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> reads = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, random = random_.Fork()]() mutable {
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
    threads.emplace_back([&, random = random_.Fork()]() mutable {
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
  for (int round = 0; round < 40; ++round) {
    ASSERT_TRUE(disk_->SwitchActive(Overlay(kSize, true), kDurable));
    if (round % 4 != 3) continue;
    // Streams the frozen layers into the uppermost of them and drops the others.
    const ChainPtr chain = disk_->chain();
    WritableImage& target = *chain->below->layers()[0]->image->writer();
    Buffer data(kCluster);
    for (uint64_t at = 0; at < kSize; at += kCluster) {
      ASSERT_TRUE(chain->below->ReadBelow(GuestOffset(at), data));
      ASSERT_TRUE(target.Populate(GuestOffset(at), data));
    }
    disk_->ReplaceLayers({chain->active, chain->below->layers()[0]});
  }
  while (reads < 200) std::this_thread::yield();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  Buffer all(kSize);
  const uint64_t begin = model.BeginRead();
  ASSERT_TRUE(disk_->Read(GuestOffset(0), all));
  EXPECT_EQ(model.CheckRead(begin, 0, all), "");
}

}  // namespace
}  // namespace chainfs
