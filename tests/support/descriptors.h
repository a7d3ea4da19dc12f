// SPDX-License-Identifier: Apache-2.0
//
// How this process has a file open: what /proc says of its descriptors.
#pragma once

#include <string>
#include <vector>

namespace chainfs {

// O_RDONLY, O_RDWR... of each descriptor that leads to `path` (absolute), but O_PATH ones; in
// ascending order.
std::vector<int> AccessModesOf(const std::string& path);

}  // namespace chainfs
