// SPDX-License-Identifier: Apache-2.0
//
// blockdev-snapshot-sync.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer BlockdevSnapshotSync(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
