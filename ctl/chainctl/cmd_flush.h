// SPDX-License-Identifier: Apache-2.0
//
// flush: the images alone are complete, with what programs wrote through the page cache.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow FlushVerb();

}  // namespace chainfs::chainctl
