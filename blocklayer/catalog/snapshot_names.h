// SPDX-License-Identifier: Apache-2.0
//
// Snapshot names: what the disks of internal snapshots are called: CHAIN@NAME. Pure text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/image/image_snapshots.h"

namespace chainfs {

// A name for the disk of each snapshot that is kept, in their order; empty where none is possible.
// An unnamed snapshot goes by its id. What cannot stand in a chain's name is %HH, as soon as
// anything of it cannot. Where several would be called alike, or somebody else is (`taken`), each
// of them is CHAIN@NAME#ID.
std::vector<std::string> NameSnapshotDisks(std::string_view chain, const ImageSnapshots& snapshots,
                                           const std::function<bool(const std::string&)>& taken);

}  // namespace chainfs
