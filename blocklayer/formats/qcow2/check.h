// SPDX-License-Identifier: Apache-2.0
//
// Checking and repairing a whole image that nobody else uses. What is compared, counted and
// repaired is what `qemu-img check` compares, counts and repairs (repair: see README.md for where
// chainfs does less, because data might be lost).
#pragma once

#include "blocklayer/base/result.h"
#include "blocklayer/image/image_check.h"
#include "blocklayer/io/file.h"

namespace chainfs {

// With a repair the report is that of a last look, after it. kInvalidFormat and kUnsupported as for
// opening; kNoMemory; kCancelled; kCorrupt (a repair is impossible, nothing was changed for it);
// kIo. A repair that ends early, or is killed, leaves the image no worse than it was.
Result<ImageCheckReport> CheckQcow2(File& file, const ImageCheckControl& control = {});

}  // namespace chainfs
