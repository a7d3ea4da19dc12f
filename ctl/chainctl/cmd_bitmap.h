// SPDX-License-Identifier: Apache-2.0
//
// bitmap: makes, removes or changes a persistent bitmap of a disk while it is in use.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow BitmapVerb();

}  // namespace chainfs::chainctl
