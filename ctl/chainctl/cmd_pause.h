// SPDX-License-Identifier: Apache-2.0
//
// pause: pauses a job.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow PauseVerb();

}  // namespace chainfs::chainctl
