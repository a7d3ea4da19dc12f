// SPDX-License-Identifier: Apache-2.0
//
// The unmount itself, as root or by the set-uid helper of FUSE. Neither asks the file system that
// is mounted there: its daemon may be dead, or hang.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

// The mount point of chainfs that the user means, as the kernel lists it. ENODATA.
Result<std::string> FindMountPoint(const std::string& given);

// The error is the bare reason; EBUSY: somebody uses it.
Status Unmount(const std::string& mount);

}  // namespace chainfs::chainctl
