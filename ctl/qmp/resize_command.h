// SPDX-License-Identifier: Apache-2.0
//
// block_resize. A disk shrinks only where its tail is empty: QEMU's command does not ask, so it
// must not be what throws data away.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer BlockResize(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
