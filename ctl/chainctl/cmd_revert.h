// SPDX-License-Identifier: Apache-2.0
//
// revert: a disk goes back to an older layer.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow RevertVerb();

}  // namespace chainfs::chainctl
