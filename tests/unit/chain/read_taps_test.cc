// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/read_taps.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "blocklayer/chain/disk.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;

class NotingTap final : public ReadTap {
 public:
  void AfterRead(GuestOffset offset, uint64_t length) noexcept override {
    ranges.emplace_back(offset.value, length);
  }
  Ranges ranges;
};

class CountingTap final : public ReadTap {
 public:
  ~CountingTap() override { gone_ = true; }
  void AfterRead(GuestOffset, uint64_t) noexcept override {
    EXPECT_FALSE(gone_);
    count.fetch_add(1);
  }
  std::atomic<uint64_t> count = 0;

 private:
  std::atomic<bool> gone_ = false;
};

TEST(ReadTaps, EachIsToldUntilItIsRemoved) {
  ReadTaps taps;
  taps.Tell(GuestOffset(1), 1);
  const auto a = std::make_shared<NotingTap>();
  const auto b = std::make_shared<NotingTap>();
  const auto c = std::make_shared<NotingTap>();
  taps.Add(a);
  taps.Tell(GuestOffset(10), 5);
  taps.Add(b);
  taps.Add(c);
  taps.Tell(GuestOffset(20), 6);
  taps.Remove(*b);
  taps.Remove(*b);
  taps.Tell(GuestOffset(30), 7);
  taps.Remove(*c);
  taps.Remove(*a);
  taps.Tell(GuestOffset(40), 8);
  EXPECT_EQ(a->ranges, (Ranges{{10, 5}, {20, 6}, {30, 7}}));
  EXPECT_EQ(b->ranges, (Ranges{{20, 6}}));
  EXPECT_EQ(c->ranges, (Ranges{{20, 6}, {30, 7}}));
  taps.Add(b);
  taps.Tell(GuestOffset(50), 9);
  EXPECT_EQ(b->ranges, (Ranges{{20, 6}, {50, 9}}));
}

// What a tap belongs to may go once it is removed; readers never stop meanwhile.
TEST(ReadTaps, TapsComeAndGoBesideReaders) {
  ReadTaps taps;
  const auto stays = std::make_shared<CountingTap>();
  taps.Add(stays);
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) taps.Tell(GuestOffset(0), 512);
    });
  }
  while (stays->count == 0) std::this_thread::yield();
  for (int i = 0; i < 30; ++i) {
    auto one = std::make_shared<CountingTap>();
    auto two = std::make_shared<CountingTap>();
    taps.Add(one);
    taps.Add(two);
    taps.Remove(*one);
    const uint64_t told = one->count;
    while (two->count == 0) std::this_thread::yield();
    EXPECT_EQ(one->count, told);
    one.reset();
    taps.Remove(*two);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(ReadTaps, ADiskTellsWhatItsUsersRead) {
  constexpr uint64_t kSize = 1 << 20;
  Random random;
  const std::shared_ptr<MemHost> host = MemHost::Create();
  BlockContext context{MemoryLimits{}};
  ChainBuilder chain{context, *host};
  chain.AddRawBase(random, kSize);
  chain.AddRandom(random, kSize, 4096);
  // What is read while the host fails.
  for (uint64_t i = 0; i < 2; ++i) chain.FillData(i, Buffer(4096, std::byte{7}));
  const std::unique_ptr<Disk> disk = Disk::Open("vm1", chain.layers(), context).value();
  const auto tap = std::make_shared<NotingTap>();
  disk->read_taps().Add(tap);
  Buffer out(8192);
  ASSERT_TRUE(disk->Read(GuestOffset(4096), out));
  ASSERT_TRUE(disk->Read(GuestOffset(kSize - 512), out));
  ASSERT_TRUE(disk->Read(GuestOffset(kSize), out));  // nothing is there
  host->SetHook([](const HostCall& call) { return call.op == HostOp::kRead ? EIO : 0; });
  EXPECT_FALSE(disk->Read(GuestOffset(0), out));
  host->SetHook({});
  EXPECT_EQ(tap->ranges, (Ranges{{4096, 8192}, {kSize - 512, 512}}));
  disk->read_taps().Remove(*tap);
  ASSERT_TRUE(disk->Read(GuestOffset(0), out));
  EXPECT_EQ(tap->ranges.size(), 2u);
}

}  // namespace
}  // namespace chainfs
