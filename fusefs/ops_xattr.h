// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of extended attributes.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddXattrOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
