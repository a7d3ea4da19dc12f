// SPDX-License-Identifier: Apache-2.0
//
// info: one disk.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow InfoVerb();

}  // namespace chainfs::chainctl
