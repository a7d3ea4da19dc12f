// SPDX-License-Identifier: Apache-2.0
//
// transaction: snapshots of several disks at one point in time, and backups; all or none.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer Transaction(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
