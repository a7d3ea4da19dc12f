// SPDX-License-Identifier: Apache-2.0
//
// chain: the layers of a disk.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ChainVerb();

}  // namespace chainfs::chainctl
