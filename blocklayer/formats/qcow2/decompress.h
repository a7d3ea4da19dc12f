// SPDX-License-Identifier: Apache-2.0
//
// Decoding one compressed cluster. The stored length of its bytes is an upper bound, so whatever
// follows the stream is ignored; what counts is that exactly one cluster comes out.
//
// Bounds, whatever the input: no memory grows with it (one decoder of some 100 KiB a thread and
// method), and the work is at most proportional to the input plus the output.
//
// Threads: any; each thread has its own decoders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blocklayer/base/result.h"

namespace chainfs::qcow2 {

// `compression_type`: kCompressionZlib or kCompressionZstd of the header. Fills `out`, one cluster.
// kCorrupt if `compressed` does not decode to that much; `out` then holds garbage. kNoMemory.
Status DecompressCluster(uint8_t compression_type, std::span<const std::byte> compressed,
                         std::span<std::byte> out);

}  // namespace chainfs::qcow2
