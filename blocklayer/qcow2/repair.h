// SPDX-License-Identifier: Apache-2.0
//
// RebuildRefcounts: after a crash with lazy refcounts (the dirty bit is set) the mappings are right
// but the refcounts are arbitrary.
#pragma once

#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Counts all references anew, writes fresh refcount blocks and a fresh refcount table behind
// everything in use, and switches to them, clearing the dirty bit, by one sector write. A crash on
// the way leaves the dirty bit and the old tables. kCorrupt when the mappings themselves are
// damaged.
Status RebuildRefcounts(File& file);

}  // namespace chainfs::qcow2
