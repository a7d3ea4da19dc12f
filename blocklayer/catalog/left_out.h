// SPDX-License-Identifier: Apache-2.0
//
// LeftOut: the durable mark of a layer that a stream has merged into another one and left out of
// its chain. Such a file holds what once was part of a disk; it must not turn up as a disk that can
// be written, just because nothing is built on it any more, until somebody says so. A mark is a
// record, "merged-FILE-INODE"; its keys are in README.md.
//
// A mark means one file: a path and the inode number that it had. It is written before the header
// that leaves the layer out, so a crash may leave one for a layer that is still needed, which does
// no harm: it only ever makes a file read-only that nothing is built on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs {

inline constexpr std::string_view kLeftOutPrefix = "merged-";

struct LeftOut {
  std::string path;  // absolute here; relative to the source on disk where it lies beneath it
  uint64_t inode = 0;
  std::string into;  // the path of the layer that holds its contents now
  bool operator==(const LeftOut&) const = default;
};

std::string FormatLeftOut(const LeftOut& mark, std::string_view source);
// kInvalidFormat, kUnsupported.
Result<LeftOut> ParseLeftOut(std::string_view text, std::string_view source);
// The file name of a mark.
std::string LeftOutName(const LeftOut& mark);

}  // namespace chainfs
