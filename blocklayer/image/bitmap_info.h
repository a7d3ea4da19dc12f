// SPDX-License-Identifier: Apache-2.0
//
// BitmapInfo: what is told of one persistent bitmap of an image, which notes what parts of the disk
// were changed since something that whoever made it knows. BitmapChange: what may be done to one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace chainfs {

struct BitmapInfo {
  std::string name;
  uint64_t granularity = 0;  // bytes that one bit stands for
  bool enabled = false;      // it records changes
  bool in_use = false;       // as the file says: what it stores does not count now
  // Whoever recorded in it last has not stored it, or its bits cannot be used: it can only be
  // removed.
  bool inconsistent = false;
  std::string problem = {};                  // why, where in_use does not say it
  std::optional<uint64_t> dirty_bytes = {};  // whole granules; absent if inconsistent or unreadable
};

// What may be done to one of them.
struct BitmapChange {
  enum class Kind : uint8_t { kAdd, kRemove, kClear, kEnable, kDisable };
  Kind kind = Kind::kAdd;
  std::string name = {};
  // kAdd: bytes, a power of two.
  uint64_t granularity = 65536;
  bool disabled = false;  // kAdd: it records nothing yet
};

}  // namespace chainfs
