// SPDX-License-Identifier: Apache-2.0
//
// Changing what the header says of the bitmaps: the extension that names their directory, and the
// autoclear bit that puts it in force.
//
// Where the extension is there already, one write of the sector that holds its data changes it,
// wherever in the first cluster that is. Else, and to take it away, the extensions are laid out
// anew within the first sector, and that one is written; names at the end of the feature name table
// give way.
//
// Threads: none of its own; the caller keeps other changes of the header out.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

struct BitmapPlace {
  uint32_t count = 0;  // of bitmaps
  HostOffset directory;
  uint64_t bytes = 0;  // of the directory
};

// Durable on return; `header` says so then. Nothing: there are no bitmaps any more. The caller has
// made durable what `place` names. kUnsupported: version 2, or no room in the header; nothing was
// written then, and `tried` stays false. After another failure the header on disk is the old or the
// new one.
Status SetBitmapsInHeader(File& file, Qcow2Header& header, const std::optional<BitmapPlace>& place,
                          bool& tried);

}  // namespace chainfs::qcow2
