// SPDX-License-Identifier: Apache-2.0
//
// A VMDK disk (VMware), read only: one sparse file, or a descriptor and the extents that it names.
#pragma once

#include <memory>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/open_options.h"

namespace chainfs::vmdk {

// Takes the file over; `cache` outlives the image. kInvalidFormat, kUnsupported (a parent, a kind
// of disk or extent), kCorrupt, kIo; and what opening another extent says.
Result<std::unique_ptr<Image>> OpenVmdkImage(std::unique_ptr<File> file, MetadataCache& cache,
                                             const ImageOpenOptions& options);
// For a hint to people.
bool BeginsLikeVmdk(File& file);

}  // namespace chainfs::vmdk
