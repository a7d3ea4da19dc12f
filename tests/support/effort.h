// SPDX-License-Identifier: Apache-2.0
//
// Effort: how often a test repeats something random. Under a sanitizer everything takes several
// times as long, so it repeats less there; what it covers is the same over many runs. How much a
// longer campaign wants is in the environment.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace chainfs {

template <typename Int>
constexpr Int Effort(Int times) {
#ifdef CHAINFS_SANITIZED
  return std::max<Int>(1, times / 4);
#else
  return times;
#endif
}

// The number in that variable; what is not set is `otherwise`.
inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace chainfs
