// SPDX-License-Identifier: Apache-2.0
//
// snapshot: a new active layer. What programs wrote through the page cache before is then in the
// frozen layer, not in the new one.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow SnapshotVerb();

}  // namespace chainfs::chainctl
