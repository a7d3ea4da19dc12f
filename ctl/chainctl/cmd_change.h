// SPDX-License-Identifier: Apache-2.0
//
// change: changes how a job works while it runs.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ChangeVerb();

}  // namespace chainfs::chainctl
