// SPDX-License-Identifier: Apache-2.0
//
// amend: changes the options of a qcow2 image that nobody uses. Like create it works on the file.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow AmendVerb();

}  // namespace chainfs::chainctl
