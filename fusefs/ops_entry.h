// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of names, directories and statfs.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddEntryOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
