// SPDX-License-Identifier: Apache-2.0
//
// The descriptor of a VMDK disk: a text that says of what kind it is, whether it has a parent, and
// of which extents it consists. A file of its own, or embedded in a sparse one. Syntax: README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::vmdk {

inline constexpr uint64_t kSectorBytes = 512;
// Of a text, and of the extents in it, each of which costs a descriptor of the process. So a flat
// extent, whose first bytes a guest chooses, is hardly ever small enough to be taken for one.
inline constexpr size_t kMostDescriptorBytes = 64 << 10;
inline constexpr size_t kMostExtents = 512;

enum class ExtentType : uint8_t {
  kFlat,    // bytes of a file, one for one
  kSparse,  // a file of grains
  kZero,    // no file; reads as zeros
};

struct DescribedExtent {
  ExtentType type = ExtentType::kZero;
  uint64_t length = 0;    // bytes, whole sectors, > 0; all extents together stay below 2^63
  std::string file = {};  // one component; empty for kZero
  uint64_t offset = 0;    // bytes into the file, for kFlat
};

struct Descriptor {
  std::string create_type;
  std::vector<DescribedExtent> extents;
};

bool IsDescriptorText(std::string_view text);
// `path` is for messages. kInvalidFormat, kUnsupported (a parent, a kind of extent).
Result<Descriptor> ParseDescriptor(const std::string& path, std::string_view text);

}  // namespace chainfs::vmdk
