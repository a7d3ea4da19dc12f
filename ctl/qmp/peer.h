// SPDX-License-Identifier: Apache-2.0
//
// Who is at the other end of a UNIX socket, as the kernel says: credentials of the moment when it
// connected.
#pragma once

#include "blocklayer/base/result.h"
#include "ctl/control/caller.h"

namespace chainfs::qmp {

Result<control::Caller> PeerOf(int socket);

}  // namespace chainfs::qmp
