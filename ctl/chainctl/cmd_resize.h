// SPDX-License-Identifier: Apache-2.0
//
// resize: a disk becomes larger or smaller while it is in use.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ResizeVerb();

}  // namespace chainfs::chainctl
