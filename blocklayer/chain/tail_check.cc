// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/tail_check.h"

#include <fmt/format.h>

namespace chainfs {
namespace {

// Extents that are looked at: a second's work at most.
constexpr int kMostExtents = 1 << 20;

std::unexpected<Error> NotEmpty(const std::string& disk, uint64_t new_size, uint64_t size,
                                const std::string& why) {
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {}, which would be lost by shrinking from {} to {} bytes; discard "
                          "it, or say shrink=yes",
                          disk, why, size, new_size));
}

}  // namespace

Status CheckTailEmpty(const Chain& chain, const std::string& disk, uint64_t new_size) {
  const uint64_t size = chain.size();
  int extents = 0;
  for (GuestOffset at(new_size); at.value < size;) {
    CHAINFS_ASSIGN(const StackExtent extent, chain.Map(at, size - at.value, MapDetail::kPrecise));
    if (extent.length == 0) break;  // it was cut off meanwhile
    const bool empty = extent.kind == ExtentKind::kUnallocated || extent.kind == ExtentKind::kZero;
    if (!empty) {
      return NotEmpty(disk, new_size, size, fmt::format("there is data at {}", at.value));
    }
    if (++extents > kMostExtents) {
      return NotEmpty(disk, new_size, size, "its end is too scattered to be looked through");
    }
    at += extent.length;
  }
  return {};
}

}  // namespace chainfs
