// SPDX-License-Identifier: Apache-2.0
//
// Look-ups in the same directory do not wait for each other: who asks for an image that is being
// checked waits for that, for 2 seconds at most.
#include <atomic>
#include <thread>
#include <utility>

#include "tests/mount/control.h"
#include "tests/support/hostile_images.h"

namespace chainfs {
namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

// Not closed cleanly, and checking it means to read 128 GiB of holes.
void MakeSlowToCheck(const std::string& path) {
  constexpr uint64_t kCluster = 2u << 20;
  constexpr uint32_t kTables = 65536;
  WriteHostileImage(path, {.cluster_bits = 21, .l1_entries = kTables, .incompatible = 1},
                    (32 + kTables) * kCluster);
  WriteWords(path, 2 * kCluster, (uint64_t{1} << 63) | (32 * kCluster), kCluster, kTables);
}

TEST(ParallelLookupTest, OneThatWaitsHoldsUpNoOther) {
  const TempDir dir;
  WriteTextFile(dir / "other.raw", "x");
  MakeSlowToCheck(dir / "slow.qcow2");
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto time_of = [&daemon](const std::string& name) {
    struct stat st = {};
    const auto begin = steady_clock::now();
    const bool there = ::stat((daemon / name).c_str(), &st) == 0;
    return std::pair(there, steady_clock::now() - begin);
  };
  std::atomic<bool> looks = false;
  steady_clock::duration waited = {};
  std::thread looker([&] {
    looks = true;
    waited = time_of("slow.raw").second;
  });
  while (!looks) std::this_thread::yield();
  std::this_thread::sleep_for(100ms);
  // The kernel does not know it yet.
  const auto [there, took] = time_of("other.raw");
  looker.join();
  EXPECT_TRUE(there);
  EXPECT_GT(waited, 300ms) << "nobody waited";
  EXPECT_LT(took, waited / 2);
}

}  // namespace
}  // namespace chainfs
