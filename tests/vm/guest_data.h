// SPDX-License-Identifier: Apache-2.0
//
// What the guest of vm_test writes, in a form that the guest and the host can judge.
//
// The *table* is one file of blocks that are overwritten in place, one after the other, by writes
// that are numbered from 1. Which block a write goes to follows from its number, so the table at
// one moment is what all writes up to some number have left, and none after it. A *checked file* is
// replaced by rename, so it is whole at every moment.
//
// All integers are in the byte order of the machine: guest and host are the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace chainfs::guest {

inline constexpr const char* kTableName = "table";
inline constexpr size_t kBlockSize = 4096;
inline constexpr uint64_t kTableBlocks = 2048;

// splitmix64's finalizer.
inline uint64_t Mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

inline uint64_t BlockOfWrite(uint64_t number) { return Mix(number) % kTableBlocks; }

// `out` is kBlockSize bytes that no other block and no other write has.
inline void FillBlock(uint64_t block, uint64_t number, std::span<std::byte> out) {
  const uint64_t seed = Mix(block) ^ number;
  for (size_t word = 0; word < kBlockSize / 8; ++word) {
    const uint64_t value = word == 0 ? block : word == 1 ? number : Mix(seed + word);
    std::memcpy(out.data() + word * 8, &value, 8);
  }
}

// The write that made it; nothing if no write has left these bytes there.
inline std::optional<uint64_t> WriteOfBlock(uint64_t block, std::span<const std::byte> bytes) {
  uint64_t number = 0;
  std::memcpy(&number, bytes.data() + 8, 8);
  std::array<std::byte, kBlockSize> expected;
  FillBlock(block, number, expected);
  if (std::memcmp(expected.data(), bytes.data(), kBlockSize) != 0) return std::nullopt;
  return number;
}

// Contents of a checked file of `words` * 8 bytes, at least 16; of the `seed` alone.
inline std::vector<uint64_t> CheckedFile(uint64_t seed, size_t words) {
  std::vector<uint64_t> contents(words);
  contents[0] = words;
  contents[1] = seed;
  for (size_t i = 2; i < words; ++i) contents[i] = Mix(seed + i);
  return contents;
}

// Whether it is what CheckedFile has made of some seed, complete.
inline bool IsCheckedFile(std::span<const std::byte> bytes) {
  uint64_t head[2] = {};
  if (bytes.size() < sizeof(head) || bytes.size() % 8 != 0) return false;
  std::memcpy(head, bytes.data(), sizeof(head));
  if (head[0] != bytes.size() / 8) return false;
  const std::vector<uint64_t> expected = CheckedFile(head[1], head[0]);
  return std::memcmp(expected.data(), bytes.data(), bytes.size()) == 0;
}

}  // namespace chainfs::guest
