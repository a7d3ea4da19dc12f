// SPDX-License-Identifier: Apache-2.0
//
// Where an open directory lies, whatever has become of its name.
#pragma once

#include <string>

#include "blocklayer/base/unique_fd.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

// Which of the fence's directories `directory` is or lies in, on the same mount; the innermost.
struct EnclosingDirectory {
  const NameFence::Inside* inside = nullptr;  // null when it lies in none
  UniqueFd fd;
};
EnclosingDirectory FindEnclosing(int directory, const NameFence& fence);

// Whether `directory` holds no such name; false where that cannot be told without entering a mount.
bool IsMissing(int directory, const std::string& name);

// The path of what `fd` has open at this moment, without links; empty when the host does not tell.
std::string RealPath(int fd);

}  // namespace chainfs
