// SPDX-License-Identifier: Apache-2.0
//
// Lists within the value of a key: "a;b". A semicolon that belongs to an item is written twice.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chainfs::control {

// The items as they are meant; an empty text is one empty item.
std::vector<std::string> SplitList(std::string_view text);

}  // namespace chainfs::control
