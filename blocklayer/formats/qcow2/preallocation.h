// SPDX-License-Identifier: Apache-2.0
//
// Preallocating a new image: its L2 tables map every cluster of the disk to a place of its own, in
// the order of the disk, as qemu-img does it. Standard entries name them as data, so they read as
// the zeros of the file; extended ones leave all subclusters unallocated, so what lies below shows.
//
// Threads: none of its own; nobody else has the file.
#pragma once

#include "blocklayer/formats/qcow2/new_layout.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Writes the L1 and L2 tables and does with the places of the data what `preallocation` says; the
// file has its full size and is not in use. Nothing for kOff. No sync of its own.
Status WritePreallocated(File& file, const NewLayout& layout, Preallocation preallocation);

}  // namespace chainfs::qcow2
