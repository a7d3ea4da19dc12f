// SPDX-License-Identifier: Apache-2.0
//
// check: checks, and repairs, an image file that is not mounted, and looks at its chain. Ends as
// qemu-img check: 0 nothing found, 2 corruptions, 3 leaks only, 1 it could not be done, 63 the
// format has nothing to check.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow CheckVerb();

}  // namespace chainfs::chainctl
