// SPDX-License-Identifier: Apache-2.0
//
// create: a new qcow2 image. It works on the file. Options are named as in
// qemu-img; a relative backing name is relative to the new image's directory, as it will be when
// the chain is opened.
#pragma once

#include "ctl/chainctl/verb_row.h"

namespace chainfs::chainctl {

VerbRow CreateVerb();

}  // namespace chainfs::chainctl
