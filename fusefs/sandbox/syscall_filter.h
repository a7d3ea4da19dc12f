// SPDX-License-Identifier: Apache-2.0
//
// seccomp (seccomp(2), by libseccomp): which system calls there are for us.
#pragma once

#include "blocklayer/base/result.h"

namespace chainfs::sandbox {

// For all threads of the process. False where the kernel has no filters. What is not on the list
// fails with ENOSYS, so that libraries take the way of older kernels, or with EPERM what nobody who
// serves disks has any business with (starting programs, mounts, other processes, modules).
Result<bool> FilterSystemCalls();

}  // namespace chainfs::sandbox
