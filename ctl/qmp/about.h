// SPDX-License-Identifier: Apache-2.0
//
// What QEMU's programs say of themselves: version and run state. The version is that of the
// protocol, since scripts compare it with QEMU's; chainfs is the package.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

// What the server says first.
nlohmann::ordered_json Greeting();

Answer QueryVersion(Client& client, Parameters& parameters);
// Always running: disks are served.
Answer QueryStatus(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
