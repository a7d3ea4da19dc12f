// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <random>

namespace chainfs {
namespace {

uint64_t SplitMix(uint64_t& state) {
  state += 0x9e3779b97f4a7c15;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t ChooseSeed() {
  const char* given = ::getenv("CHAINFS_SEED");
  uint64_t seed = 0;
  if (given != nullptr && *given != '\0') {
    seed = ::strtoull(given, nullptr, 0);
  } else {
    std::random_device device;
    seed = device();
  }
  fmt::print("[   SEED   ] CHAINFS_SEED={}\n", seed);
  std::fflush(stdout);
  return seed;
}

}  // namespace

uint64_t TestSeed() {
  static const uint64_t seed = ChooseSeed();
  return seed;
}

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix(seed);
}

uint64_t Random::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t bound) {
  // Slightly uneven for huge bounds, which no test minds.
  return Next() % bound;
}

void Random::Fill(std::span<std::byte> out) {
  while (!out.empty()) {
    const uint64_t word = Next();
    const size_t part = std::min(out.size(), sizeof word);
    std::memcpy(out.data(), &word, part);
    out = out.subspan(part);
  }
}

}  // namespace chainfs
