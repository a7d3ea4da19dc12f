// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of opening and closing files.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddOpenOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
