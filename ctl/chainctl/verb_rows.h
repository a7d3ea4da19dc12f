// SPDX-License-Identifier: Apache-2.0
//
// All verbs of the command line.
#pragma once

#include <vector>

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

// In the order of `chainctl --help`.
std::vector<VerbRow> VerbRows();

}  // namespace chainfs::chainctl
