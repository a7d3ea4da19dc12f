// SPDX-License-Identifier: Apache-2.0
//
// resume: lets a paused job go on.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ResumeVerb();

}  // namespace chainfs::chainctl
