// SPDX-License-Identifier: Apache-2.0
//
// Effort: how often a test repeats something random. Under a sanitizer everything takes several
// times as long, so it repeats less there; what it covers is the same over many runs.
#pragma once

#include <algorithm>

namespace chainfs {

template <typename Int>
constexpr Int Effort(Int times) {
#ifdef CHAINFS_SANITIZED
  return std::max<Int>(1, times / 4);
#else
  return times;
#endif
}

}  // namespace chainfs
