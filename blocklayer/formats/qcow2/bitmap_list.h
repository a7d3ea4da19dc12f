// SPDX-License-Identifier: Apache-2.0
//
// Listing the persistent bitmaps of an image as its file has them.
//
// Threads: plain functions.
#pragma once

#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/image/bitmap_info.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Of a disk of `size` bytes. Reads at most 256 MiB of bits for all of them together; of the others
// it does not say how much is dirty. kCorrupt: the directory is broken.
Result<std::vector<BitmapInfo>> ListBitmaps(File& file, const Qcow2Header& header, uint64_t size);

}  // namespace chainfs::qcow2
