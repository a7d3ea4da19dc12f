// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of reading, writing, flushing, seeking and polling.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddDataOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
