// SPDX-License-Identifier: Apache-2.0
//
// max-layers: keeps a chain short.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow MaxLayersVerb();

}  // namespace chainfs::chainctl
