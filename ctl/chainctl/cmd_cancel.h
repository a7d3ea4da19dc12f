// SPDX-License-Identifier: Apache-2.0
//
// cancel: stops a job, and waits until it has stopped.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow CancelVerb();

}  // namespace chainfs::chainctl
