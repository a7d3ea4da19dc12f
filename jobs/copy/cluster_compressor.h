// SPDX-License-Identifier: Apache-2.0
//
// Compressing clusters as qcow2 images hold them (compression.h), so that QEMU decodes them.
//
// Threads: any, at once; each keeps an encoder of its own.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/image/compression.h"

namespace chainfs::jobs {

// The compressed form of `cluster`, in `out`, or an empty `out` where that is no shorter. The
// cluster is whole: the last one of a disk is padded with zeros by the caller. kNoMemory.
Status CompressCluster(ImageCompression compression, std::span<const std::byte> cluster,
                       std::vector<std::byte>& out);

}  // namespace chainfs::jobs
