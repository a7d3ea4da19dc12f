// SPDX-License-Identifier: Apache-2.0
//
// thaw: a disk that a stream has left out can be written again.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ThawVerb();

}  // namespace chainfs::chainctl
