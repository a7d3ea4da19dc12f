// SPDX-License-Identifier: Apache-2.0
//
// chainctl backup: copies a disk as it is now.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow BackupVerb();

}  // namespace chainfs::chainctl
