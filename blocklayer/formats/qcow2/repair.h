// SPDX-License-Identifier: Apache-2.0
//
// RebuildRefcounts: after a crash with lazy refcounts (the dirty bit is set) the mappings are right
// but the refcounts are arbitrary.
#pragma once

#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Counts all references anew, writes fresh refcount blocks and a fresh refcount table behind
// everything in use, and switches to them, clearing the dirty bit, by one sector write. A crash or
// an error on the way leaves the dirty bit and the old tables. Does nothing to an image without the
// dirty bit. kCorrupt when the mappings themselves are damaged; they are left as they are.
//
// The image is not trusted: what is read and written is bounded by what its file occupies, memory
// by 24 MiB and a few clusters.
Status RebuildRefcounts(File& file, const ImageRepairControl& control = {});

}  // namespace chainfs::qcow2
