// SPDX-License-Identifier: Apache-2.0
//
// What lies in an image beside its header, its L1 and L2 tables, its refcounts and the data of its
// disk: whoever counts references or keeps writers off metadata learns of all of it here.
//
// Threads: plain functions. The bytes are not trusted.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/snapshot_table.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

struct MetadataExtent {
  std::string_view what;  // for people
  HostOffset host;        // as stored: maybe not aligned
  uint64_t bytes = 0;     // > 0
};

// Calls `visit` for each: the table of internal snapshots and their L1 tables; the directory, the
// tables and the bits of bitmaps that are in force. Each is referred to once. Ends at the first
// error. kCorrupt as ForEachSnapshot and ForEachBitmapExtent.
Status ForEachMetadataExtent(File& file, const Qcow2Header& header,
                             const std::function<Status(const MetadataExtent&)>& visit);

// Where the L2 tables of internal snapshots lie, each once, in ascending order. What L1 entries say
// is not judged. `charge` is told how many bytes are needed for the list, before they are; it only
// grows. kCorrupt as ForEachSnapshot.
Result<std::vector<uint64_t>> FindInactiveL2Tables(
    File& file, const Qcow2Header& header, const std::function<Status(uint64_t bytes)>& charge);

}  // namespace chainfs::qcow2
