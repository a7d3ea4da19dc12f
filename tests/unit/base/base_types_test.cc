// SPDX-License-Identifier: Apache-2.0
//
// Offsets that do not mix, arithmetic helpers, big-endian access, and the mutexes.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <thread>
#include <type_traits>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/base/types.h"

namespace chainfs {
namespace {

template <typename A, typename B>
concept Subtractable = requires(A a, B b) { a - b; };
template <typename A, typename B>
concept Comparable = requires(A a, B b) { a < b; };

static_assert(!std::is_convertible_v<GuestOffset, HostOffset>);
static_assert(!std::is_convertible_v<uint64_t, HostOffset>);
static_assert(!Subtractable<GuestOffset, HostOffset>);
static_assert(!Comparable<GuestOffset, HostOffset>);
static_assert(Subtractable<HostOffset, HostOffset>);

TEST(BaseTypes, OffsetArithmetic) {
  const HostOffset at(0x12345);
  EXPECT_EQ((at + 1).value, 0x12346u);
  EXPECT_EQ((at - 5).value, 0x12340u);
  EXPECT_EQ(at - HostOffset(0x12000), 0x345u);
  EXPECT_EQ(at.AlignDown(0x1000), HostOffset(0x12000));
  EXPECT_EQ(at.Within(0x1000), 0x345u);
  EXPECT_LT(at, at + 1);
}

TEST(BaseTypes, Rounding) {
  EXPECT_EQ(RoundUp(0, 512), 0u);
  EXPECT_EQ(RoundUp(1, 512), 512u);
  EXPECT_EQ(RoundUp(512, 512), 512u);
  EXPECT_EQ(RoundDown(1023, 512), 512u);
  EXPECT_EQ(DivRoundUp(UINT64_MAX, 2), uint64_t{1} << 63);
  EXPECT_EQ(DivRoundUp(7, 7), 1u);
}

TEST(BaseTypes, BigEndianAtAnyAlignment) {
  std::array<std::byte, 11> bytes{};
  StoreBigEndian<uint64_t>(bytes.data() + 3, 0x0102030405060708);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(std::to_integer<size_t>(bytes[3 + i]), i + 1);
  EXPECT_EQ(LoadBigEndian<uint64_t>(bytes.data() + 3), 0x0102030405060708u);
  EXPECT_EQ(LoadBigEndian<uint16_t>(bytes.data() + 3), 0x0102u);
  EXPECT_EQ(LoadBigEndian<uint8_t>(bytes.data() + 4), 2u);
}

TEST(BaseTypes, CondVarWakesAndTimesOut) {
  Mutex mutex;
  CondVar changed;
  bool ready = false;
  std::thread other([&] {
    const MutexLock lock(mutex);
    ready = true;
    changed.NotifyAll();
  });
  {
    const MutexLock lock(mutex);
    while (!ready) changed.Wait(mutex);
    EXPECT_FALSE(changed.WaitUntil(mutex, std::chrono::steady_clock::now()));
  }
  other.join();
  const bool locked = mutex.TryLock();
  EXPECT_TRUE(locked);
  if (locked) mutex.Unlock();
}

TEST(BaseTypes, SharedMutexExcludesWriters) {
  SharedMutex mutex;
  int value = 0;
  std::thread writer([&] {
    for (int i = 0; i < 1000; ++i) {
      const WriterLock lock(mutex);
      ++value;
    }
  });
  for (int i = 0; i < 1000; ++i) {
    const ReaderLock lock(mutex);
    EXPECT_LE(value, 1000);
  }
  writer.join();
  EXPECT_EQ(value, 1000);
}

}  // namespace
}  // namespace chainfs
