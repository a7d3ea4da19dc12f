// SPDX-License-Identifier: Apache-2.0
//
// Changing the options of an image that nobody uses: the version of its format, and whether
// reference counts may be written late.
//
// Crash ordering: whatever the new header presumes is durable before; then one write of the first
// sector, and a sync. A crash leaves an image of the old or of the new options that shows the same.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "blocklayer/base/result.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/io/file.h"

namespace chainfs {

struct Qcow2AmendOptions {
  std::optional<uint32_t> version = {};     // 2 or 3
  std::optional<bool> lazy_refcounts = {};  // version 3 only
};

// `file` has the locks of a writer; a dirty image is repaired first. Version 2 knows no clusters
// that read as zeros: those become unallocated, or are written where there is a backing file.
// kUnsupported: the image has what version 2 cannot say (named), or its header has no room.
// kInvalidArgument, kReadOnly, kInvalidFormat, kIo.
Status AmendQcow2(std::unique_ptr<File> file, MetadataCache& cache,
                  const Qcow2AmendOptions& options);

}  // namespace chainfs
