// SPDX-License-Identifier: Apache-2.0
//
// list: the disks of a mount, broken images, notes.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow ListVerb();

}  // namespace chainfs::chainctl
