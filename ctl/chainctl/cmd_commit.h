// SPDX-License-Identifier: Apache-2.0
//
// commit: starts the job and waits for it.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow CommitVerb();

}  // namespace chainfs::chainctl
