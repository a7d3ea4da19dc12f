// SPDX-License-Identifier: Apache-2.0
//
// block-commit. A commit of the active layer gets ready and waits for job-complete, as QEMU's does.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer BlockCommit(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
