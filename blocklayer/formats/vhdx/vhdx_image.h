// SPDX-License-Identifier: Apache-2.0
//
// A VHDX image (Hyper-V), fixed or dynamic, read only.
#pragma once

#include <memory>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/open_options.h"

namespace chainfs::vhdx {

// Takes the file over; `cache` outlives the image. Errors: those of ReadFileRegions and
// ReadDiskParameters.
Result<std::unique_ptr<Image>> OpenVhdxImage(std::unique_ptr<File> file, MetadataCache& cache,
                                             const ImageOpenOptions& options);

}  // namespace chainfs::vhdx
