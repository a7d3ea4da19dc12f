// SPDX-License-Identifier: Apache-2.0
//
// LeftOut: the durable mark of a file that must not turn up as a disk that can be written, just
// because nothing is built on it (any more):
//   merged    a job has merged it into another layer and left it out of its chain; it shows what it
//             showed then, and somebody may say that it may be written
//   changing  a commit writes to it, or to what it is built on, or had not finished doing so: what
//             it shows is a mixture. Written before the first change.
//   changed   it was between the two ends of such a commit, or above the layer that its chain went
//             on with: what it is built on is not what it was made for any more
//   target    a job fills it, from before the first write until it has all
// A mark is a record, "merged-FILE-INODE"; its keys are in README.md.
//
// A mark means one file: a path and the inode number that it had. It is written before the header
// that leaves the layer out, so a crash may leave one for a layer that is still needed, which does
// no harm: it only ever makes a file read-only that nothing is built on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs {

inline constexpr std::string_view kLeftOutPrefix = "merged-";

enum class MarkKind : uint8_t { kMerged, kChanging, kChanged, kTarget };

struct LeftOut {
  std::string path;  // absolute here; relative to the source on disk where it lies beneath it
  uint64_t inode = 0;
  // The path of the layer that holds its contents now; of a layer that is changing, the one from
  // which on upwards everything is right; of a target, what it is a copy of.
  std::string into;
  MarkKind kind = MarkKind::kMerged;
  std::string job = {};  // the id of who changes or fills it
  // Of one that nobody writes any more: the backing name in its header (empty: none) when it was
  // left out. By that a new image is told which qemu-img makes in the old file, with its inode
  // number.
  std::optional<std::string> built_on = {};
  bool operator==(const LeftOut&) const = default;
};

std::string FormatLeftOut(const LeftOut& mark, std::string_view source);
// kInvalidFormat, kUnsupported.
Result<LeftOut> ParseLeftOut(std::string_view text, std::string_view source);
// The file name of a mark.
std::string LeftOutName(const LeftOut& mark);

// What such a file name tells of the marked file.
struct FileInName {
  std::string name;  // the beginning of it, where it is long
  uint64_t inode = 0;
};
std::optional<FileInName> FileOfLeftOutName(std::string_view record);

}  // namespace chainfs
