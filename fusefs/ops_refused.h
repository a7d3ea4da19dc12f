// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of what a mount of disks does not do.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddRefusedOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
