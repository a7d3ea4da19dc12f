// SPDX-License-Identifier: Apache-2.0
//
// GUIDs as VHDX files store them: the first three groups of digits little-endian, the others as
// they are written.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace chainfs::vhdx {

using Guid = std::array<std::byte, 16>;

consteval Guid GuidOf(std::string_view text) {
  Guid guid = {};
  size_t at = 0;
  int digits = 0;
  for (const char c : text) {
    if (c == '-') continue;
    const int value = c <= '9' ? c - '0' : c - 'A' + 10;
    guid[at] = static_cast<std::byte>(static_cast<int>(guid[at]) * 16 + value);
    if (++digits % 2 == 0) ++at;
  }
  std::reverse(guid.begin(), guid.begin() + 4);
  std::reverse(guid.begin() + 4, guid.begin() + 6);
  std::reverse(guid.begin() + 6, guid.begin() + 8);
  return guid;
}

inline bool IsGuid(std::span<const std::byte> bytes, const Guid& guid) {
  return std::ranges::equal(bytes.first(guid.size()), guid);
}

}  // namespace chainfs::vhdx
