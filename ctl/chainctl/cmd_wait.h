// SPDX-License-Identifier: Apache-2.0
//
// wait: until a job has concluded.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow WaitVerb();

}  // namespace chainfs::chainctl
