// SPDX-License-Identifier: Apache-2.0
//
// Strong types for the two address spaces. A guest offset counts bytes of a flat disk (or of one
// layer's virtual contents); a host offset counts bytes of an image file. Mixing them does not
// compile. Lengths are plain uint64_t bytes.
#pragma once

#include <compare>
#include <cstdint>

namespace chainfs {

template <typename Tag>
struct Offset {
  uint64_t value = 0;

  constexpr Offset() = default;
  constexpr explicit Offset(uint64_t bytes) : value(bytes) {}

  constexpr auto operator<=>(const Offset&) const = default;
  constexpr Offset operator+(uint64_t bytes) const { return Offset(value + bytes); }
  constexpr Offset operator-(uint64_t bytes) const { return Offset(value - bytes); }
  constexpr uint64_t operator-(Offset other) const { return value - other.value; }
  constexpr Offset& operator+=(uint64_t bytes) {
    value += bytes;
    return *this;
  }
  // `unit` must be a power of two.
  constexpr Offset AlignDown(uint64_t unit) const { return Offset(value & ~(unit - 1)); }
  constexpr uint64_t Within(uint64_t unit) const { return value & (unit - 1); }
};

using GuestOffset = Offset<struct GuestTag>;
using HostOffset = Offset<struct HostTag>;

// `unit` must be a power of two; `bytes` + `unit` must not overflow.
constexpr uint64_t RoundUp(uint64_t bytes, uint64_t unit) {
  return (bytes + unit - 1) & ~(unit - 1);
}
constexpr uint64_t RoundDown(uint64_t bytes, uint64_t unit) { return bytes & ~(unit - 1); }
constexpr uint64_t DivRoundUp(uint64_t bytes, uint64_t unit) {
  return bytes / unit + (bytes % unit != 0 ? 1 : 0);
}

}  // namespace chainfs
