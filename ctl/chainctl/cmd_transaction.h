// SPDX-License-Identifier: Apache-2.0
//
// transaction: several commands on disks of one mount, all of them or none. What programs wrote
// through the page cache of a disk that is to be frozen is in its frozen layer.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow TransactionVerb();

}  // namespace chainfs::chainctl
