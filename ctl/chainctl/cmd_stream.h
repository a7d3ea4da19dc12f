// SPDX-License-Identifier: Apache-2.0
//
// stream: starts the job and waits for it.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow StreamVerb();

}  // namespace chainfs::chainctl
