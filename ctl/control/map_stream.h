// SPDX-License-Identifier: Apache-2.0
//
// The map of a disk: its extents, with the layer that each comes from; keys of `qemu-img map`.
// Extents that continue each other (same layer, same kind, adjacent in the file) are shown as one,
// wherever the metadata happens to be cut; unless finding the end of one takes long: then it is
// shown in parts, so that whoever reads gets something and can be interrupted.
//
// It is made as it is read, and is exact only while nobody writes.
#pragma once

#include <memory>

#include "blocklayer/chain/disk.h"
#include "ctl/control/text_stream.h"

namespace chainfs::control {

std::unique_ptr<TextStream> MapStream(const DiskPtr& disk);

}  // namespace chainfs::control
