// SPDX-License-Identifier: Apache-2.0
//
// Parts of a path as text; no file is looked at.
#pragma once

#include <string_view>

namespace chainfs {

// What follows the last slash; all of a path that has none, nothing of one that ends in one.
constexpr std::string_view BaseName(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace chainfs
