// SPDX-License-Identifier: Apache-2.0
//
// Landlock (landlock(7), Linux 5.13): which files can be opened and changed, whoever we are.
#pragma once

#include "blocklayer/base/result.h"
#include "fusefs/sandbox/sandbox.h"

namespace chainfs::sandbox {

// Of the calling thread, and of threads that it starts. False where the kernel has no Landlock.
// What the process itself needs of /proc, /sys, /dev and its libraries stays readable; nothing can
// be executed, no file system mounted or unmounted, and no TCP port used (Linux 6.7). Files that
// are open already stay so.
Result<bool> RestrictFiles(const Policy& policy);

}  // namespace chainfs::sandbox
