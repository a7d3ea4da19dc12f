// SPDX-License-Identifier: Apache-2.0
//
// map: which layer serves which part of the disk.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow MapVerb();

}  // namespace chainfs::chainctl
