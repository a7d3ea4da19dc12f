// SPDX-License-Identifier: Apache-2.0
//
// A VHD image (Virtual PC, Hyper-V; QEMU calls the format vpc), fixed or dynamic, read only.
#pragma once

#include <memory>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/open_options.h"

namespace chainfs::vpc {

// Takes the file over; `cache` outlives the image. Errors: ReadVpcLayout's.
Result<std::unique_ptr<Image>> OpenVpcImage(std::unique_ptr<File> file, MetadataCache& cache,
                                            const ImageOpenOptions& options);

}  // namespace chainfs::vpc
