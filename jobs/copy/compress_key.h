// SPDX-License-Identifier: Apache-2.0
//
// The key compress=none|zlib|zstd of commands that copy: what it asks for, whether the image that
// is written can have it, and the sink that does it.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "blocklayer/chain/layer.h"
#include "blocklayer/image/writable_image.h"
#include "ctl/verbs/arguments.h"
#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

// Nothing: what is copied is stored as it is. kInvalidArgument.
Result<std::optional<ImageCompression>> CompressionWanted(const verbs::Arguments& arguments);
// Whether `target` can hold what is wanted; kUnsupported says why not, and what to do.
Status CheckCompression(const Layer& target, std::optional<ImageCompression> wanted);
// The smallest chunk, in bytes, of a job that writes to an image with such clusters: one cluster,
// or, if it compresses, enough of them to be packed closely, also when chunks shrink.
uint64_t ChunkUnit(uint64_t cluster_size, std::optional<ImageCompression> wanted);
// `plain`, which writes to `image`, or a sink over it that compresses.
std::unique_ptr<CopySink> WithCompression(std::unique_ptr<CopySink> plain, WritableImage& image,
                                          std::optional<ImageCompression> wanted);

}  // namespace chainfs::jobs
