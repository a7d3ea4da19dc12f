// SPDX-License-Identifier: Apache-2.0
//
// rebase: a layer stands on another image from then on.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow RebaseVerb();

}  // namespace chainfs::chainctl
