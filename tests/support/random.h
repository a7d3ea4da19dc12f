// SPDX-License-Identifier: Apache-2.0
//
// Random numbers that can be repeated: the seed comes from $CHAINFS_SEED or the system and is
// printed, so a failing run can be run again exactly. Not for several threads at once: give each
// its own, from Fork().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace chainfs {

// $CHAINFS_SEED or a fresh one; the same for the whole program, printed when first asked for.
uint64_t TestSeed();

// xoshiro256** seeded by splitmix64: fast, and the same on every machine (unlike the distributions
// of the standard library).
class Random {
 public:
  explicit Random(uint64_t seed = TestSeed());

  uint64_t Next();
  // 0 .. bound - 1; `bound` > 0.
  uint64_t Below(uint64_t bound);
  // first .. last, both included.
  uint64_t Between(uint64_t first, uint64_t last) { return first + Below(last - first + 1); }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  void Fill(std::span<std::byte> out);
  // An independent generator for another thread or part.
  Random Fork() { return Random(Next()); }

 private:
  uint64_t state_[4];
};

}  // namespace chainfs
