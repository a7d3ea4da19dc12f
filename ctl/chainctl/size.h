// SPDX-License-Identifier: Apache-2.0
//
// Sizes, rates and durations as people type and read them. k K M G T P E and KiB, MiB... are powers
// of 1024 (as in qemu-img), KB, MB... powers of 1000 (as in virsh); letter case does not matter.
//
// So much is for the command line alone, where people copy sizes from elsewhere. chainctl sends
// bytes. Attributes and mount options, which programs write, take fewer forms (ParseSize of
// blocklayer/base/text_values.h), so that one size is not written in ten ways there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

// "10G", "1.5M", "100MB", "4096", "512B". kInvalidArgument: empty, negative, unknown suffix, more
// than 2^63 - 1 bytes. A fraction of a byte is dropped.
Result<uint64_t> ParseTypedSize(std::string_view text);

std::string FormatSize(uint64_t bytes);             // "1.2 GiB", "512 B"
std::string FormatRate(uint64_t bytes_per_second);  // "180 MiB/s"
std::string FormatDuration(uint64_t seconds);       // "0:09", "1:02:03", "3d 01:00:00"

}  // namespace chainfs::chainctl
