// SPDX-License-Identifier: Apache-2.0
//
// Numbers, sizes and switches as people write them in options and commands. Whole strings only: no
// sign, no blank, nothing left over, no overflow.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace chainfs {

std::optional<uint64_t> ParseNumber(std::string_view text);
// Bytes, with an optional suffix k K M G T (powers of 1024).
std::optional<uint64_t> ParseSize(std::string_view text);
// on, yes, true, 1; off, no, false, 0.
std::optional<bool> ParseSwitch(std::string_view text);

}  // namespace chainfs
