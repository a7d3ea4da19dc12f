// SPDX-License-Identifier: Apache-2.0
//
// What somebody who mistyped a word probably meant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chainfs::chainctl {

// The known word that fewest changes (a letter put in, left out, replaced, or two swapped) make of
// `word`, or that begins with it; nothing if none is close.
std::optional<std::string> NearestWord(std::string_view word,
                                       const std::vector<std::string>& known);

}  // namespace chainfs::chainctl
