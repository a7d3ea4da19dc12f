// SPDX-License-Identifier: Apache-2.0
//
// Opening a qcow2 image. See README.md for the invariants and FORMAT.md for the bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/open_options.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs {

// Takes the file over; `options.owner` is its key in `cache`. kInvalidFormat, kUnsupported (naming
// the feature), kCorrupt, kIo.
Result<std::unique_ptr<WritableImage>> OpenQcow2Image(std::unique_ptr<File> file,
                                                      MetadataCache& cache,
                                                      const ImageOpenOptions& options);

// What opening for writing does to an image with the dirty bit, for somebody who does it elsewhere
// first; see RebuildRefcounts. The file has the locks of a writer.
Status RepairQcow2(File& file, const ImageRepairControl& control);

}  // namespace chainfs
