// SPDX-License-Identifier: Apache-2.0
//
// RebuildAllRefcounts: makes the refcounts of an image anew from what it refers to, whatever they
// were.
//
// Crash ordering: new blocks, and a new table, behind everything in the file; sync; one write of
// the header's first sector, which switches to them; sync. Until then the old ones are in force;
// the new ones do not count the old, which so become free.
#pragma once

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/reference_walk.h"
#include "blocklayer/formats/qcow2/reference_window.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// `keep`: no count becomes less than it was, and no cluster free whose count cannot be read: bad
// entries may have named it. kCorrupt: counts or places do not fit into the format; nothing has
// changed. Durable on return, and `header` says where the new table is.
Status RebuildAllRefcounts(File& file, Qcow2Header& header, ReferenceWindow& window,
                           const WalkControl& control, bool keep);

}  // namespace chainfs::qcow2
