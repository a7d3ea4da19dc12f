// SPDX-License-Identifier: Apache-2.0
//
// human-monitor-command: a few lines that people type at QEMU's monitor, as the commands that they
// stand for. A line that fails still returns: its text says why.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer HumanMonitorCommand(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
