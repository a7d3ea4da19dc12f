// SPDX-License-Identifier: Apache-2.0
//
// blockdev-add and blockdev-del: names for files that are to be the targets of jobs. The file is
// not opened before a job does so.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer BlockdevAdd(Client& client, Parameters& parameters);
Answer BlockdevDel(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
