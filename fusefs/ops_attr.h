// SPDX-License-Identifier: Apache-2.0
//
// The callbacks of attributes: getattr, setattr.
#pragma once

#include "fusefs/fuse_api.h"

namespace chainfs::fusefs {

void AddAttrOps(fuse_lowlevel_ops* ops);

}  // namespace chainfs::fusefs
