// SPDX-License-Identifier: Apache-2.0
//
// mirror: copies a disk that is in use, and has it go on with the copy if wanted.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow MirrorVerb();

}  // namespace chainfs::chainctl
