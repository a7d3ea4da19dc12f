// SPDX-License-Identifier: Apache-2.0
//
// events: JSON Lines as they come, from one mount or from all. With several mounts each line gets
// a "mount" key.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow EventsVerb();

}  // namespace chainfs::chainctl
