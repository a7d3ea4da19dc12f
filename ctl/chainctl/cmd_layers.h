// SPDX-License-Identifier: Apache-2.0
//
// layers: every layer, who is built on it directly, and what may be deleted.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow LayersVerb();

}  // namespace chainfs::chainctl
