// SPDX-License-Identifier: Apache-2.0
//
// query-named-block-nodes and query-block: layers and disks in QEMU's form. A layer is one node;
// the file that it lies in is none of its own. What lies below an image is nested in it for
// kMaxNested layers at most, since each node of a long chain would repeat the rest of it.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

inline constexpr size_t kMaxNested = 16;

Answer QueryNamedBlockNodes(Client& client, Parameters& parameters);
Answer QueryBlock(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
