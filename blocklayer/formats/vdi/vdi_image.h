// SPDX-License-Identifier: Apache-2.0
//
// A VDI image (VirtualBox), dynamic or static, read only: a map of blocks of 1 MiB.
#pragma once

#include <memory>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/open_options.h"

namespace chainfs::vdi {

// Takes the file over; `cache` outlives the image. Errors: ReadVdiHeader's.
Result<std::unique_ptr<Image>> OpenVdiImage(std::unique_ptr<File> file, MetadataCache& cache,
                                            const ImageOpenOptions& options);

}  // namespace chainfs::vdi
