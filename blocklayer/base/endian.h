// SPDX-License-Identifier: Apache-2.0
//
// Loads and stores at any alignment, in the byte order of a format; qcow2 is big-endian throughout.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace chainfs {

template <std::unsigned_integral T>
constexpr T BigEndian(T value) {
  if constexpr (std::endian::native == std::endian::little && sizeof(T) > 1) {
    return std::byteswap(value);
  }
  return value;
}

template <std::unsigned_integral T>
constexpr T LittleEndian(T value) {
  if constexpr (std::endian::native == std::endian::big && sizeof(T) > 1) {
    return std::byteswap(value);
  }
  return value;
}

template <std::unsigned_integral T>
T LoadBigEndian(const std::byte* from) {
  T raw;
  std::memcpy(&raw, from, sizeof raw);
  return BigEndian(raw);
}

template <std::unsigned_integral T>
T LoadLittleEndian(const std::byte* from) {
  T raw;
  std::memcpy(&raw, from, sizeof raw);
  return LittleEndian(raw);
}

template <std::unsigned_integral T>
void StoreBigEndian(std::byte* to, T value) {
  const T raw = BigEndian(value);
  std::memcpy(to, &raw, sizeof raw);
}

}  // namespace chainfs
