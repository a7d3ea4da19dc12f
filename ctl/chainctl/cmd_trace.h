// SPDX-License-Identifier: Apache-2.0
//
// trace: has what is read of a disk recorded.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow TraceVerb();

}  // namespace chainfs::chainctl
