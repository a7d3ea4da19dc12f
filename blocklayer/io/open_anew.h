// SPDX-License-Identifier: Apache-2.0
//
// OpenAnew: a second open file description of a file that is open already, whatever became of its
// name.
#pragma once

#include "blocklayer/base/unique_fd.h"

namespace chainfs {

// The regular file behind `fd` (which may be O_PATH), without ever waiting. Not valid, and errno
// says why, when it cannot be opened.
UniqueFd OpenAnew(int fd, bool writable);

}  // namespace chainfs
