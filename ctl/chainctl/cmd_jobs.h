// SPDX-License-Identifier: Apache-2.0
//
// jobs: the jobs of a disk or a mount.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow JobsVerb();

}  // namespace chainfs::chainctl
