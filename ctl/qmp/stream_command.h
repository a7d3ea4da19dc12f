// SPDX-License-Identifier: Apache-2.0
//
// block-stream.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer BlockStream(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
