// SPDX-License-Identifier: Apache-2.0
//
// dismiss: forgets a job that has finished.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow DismissVerb();

}  // namespace chainfs::chainctl
