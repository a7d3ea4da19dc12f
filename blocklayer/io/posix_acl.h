// SPDX-License-Identifier: Apache-2.0
//
// POSIX access control lists, as far as they narrow what the mode of a file says: where there is
// one, the group's bits of the mode are the list's mask, and not what the group may do.
#pragma once

#include <sys/types.h>

#include <string>

namespace chainfs {

// `permissions` of the file at `path` (/proc/self/fd/N for a descriptor), with no more for its
// group and for others than any entry of its list says but the owner's. Without a list, as given;
// nothing for group and others when the list cannot be read.
mode_t NarrowByAcl(const std::string& path, mode_t permissions);

}  // namespace chainfs
