// SPDX-License-Identifier: Apache-2.0
//
// complete: ends a job that is ready.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow CompleteVerb();

}  // namespace chainfs::chainctl
