// SPDX-License-Identifier: Apache-2.0
//
// The text of a read trace: which ranges of a disk were read, in that order, for a stream that is
// to copy them first. One line says what it is, then each range is a line "OFFSET LENGTH", in
// bytes:
//
//   chainfs-trace 1
//   # what was read of vm1 (offset and length in bytes)
//   0 65536
//   1048576 196608
//
// Empty lines and those that begin with '#' count for nothing. A trace is a hint: what it names
// beyond the end of a disk is passed over, and one that was cut off is as good as a short one.
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

// Nobody need read a longer one.
inline constexpr size_t kMostTraceBytes = 4 << 20;
inline constexpr size_t kMostTraceRanges = 64 << 10;

// Ranges that continue the one before become part of it. At most kMostTraceRanges.
std::string FormatTrace(std::string_view disk, std::span<const ChunkRange> ranges);
// `path`: for messages, which say which line is wrong but not what it says: the file may be none of
// whoever named it. kInvalidArgument.
Result<std::vector<ChunkRange>> ParseTrace(std::string_view path, std::string_view text);

}  // namespace chainfs::jobs
