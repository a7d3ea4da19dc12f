// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vhdx/crc32c.h"

#include <array>

#include "blocklayer/base/endian.h"

namespace chainfs::vhdx {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f63b78;
constexpr size_t kChecksumAt = 4;
constexpr size_t kChecksumBytes = 4;

constexpr std::array<uint32_t, 256> kSteps = [] {
  std::array<uint32_t, 256> steps = {};
  for (uint32_t i = 0; i < steps.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? kReversedPolynomial : 0);
    }
    steps[i] = value;
  }
  return steps;
}();

uint32_t Continue(uint32_t crc, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^ kSteps[(crc ^ std::to_integer<uint32_t>(byte)) & 0xff];
  }
  return crc;
}

}  // namespace

uint32_t Crc32c(std::span<const std::byte> bytes) { return ~Continue(~uint32_t{0}, bytes); }

bool ChecksumHolds(std::span<const std::byte> bytes) {
  constexpr std::array<std::byte, kChecksumBytes> kZeros = {};
  uint32_t crc = Continue(~uint32_t{0}, bytes.first(kChecksumAt));
  crc = Continue(crc, kZeros);
  crc = Continue(crc, bytes.subspan(kChecksumAt + kChecksumBytes));
  return LoadLittleEndian<uint32_t>(&bytes[kChecksumAt]) == ~crc;
}

}  // namespace chainfs::vhdx
