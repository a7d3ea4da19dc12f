// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli), the checksum of VHDX headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace chainfs::vhdx {

uint32_t Crc32c(std::span<const std::byte> bytes);
// Whether the four bytes at 4, little-endian, are the checksum of `bytes` in which they are zero.
bool ChecksumHolds(std::span<const std::byte> bytes);

}  // namespace chainfs::vhdx
