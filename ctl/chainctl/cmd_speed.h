// SPDX-License-Identifier: Apache-2.0
//
// speed: limits the speed of a job.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow SpeedVerb();

}  // namespace chainfs::chainctl
