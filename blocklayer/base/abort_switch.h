// SPDX-License-Identifier: Apache-2.0
//
// The switch by which the kernel ends a FUSE connection: everything that waits for its server fails
// with ENOTCONN instead of waiting for ever. It is a file of the file system fusectl
// (filesystems/fuse.rst in the kernel's documentation), which systemd mounts at
// /sys/fs/fuse/connections; where nobody has, root mounts one that only the switch knows.
//
// Threads: no state.
#pragma once

#include <string>
#include <string_view>

#include "blocklayer/base/unique_fd.h"

namespace chainfs {

// Of the mount with this device number ("0:52"). Opened while the connection is known to be the one
// that is meant: numbers of devices are used again. Invalid where there is none, or only root could
// open it.
UniqueFd OpenAbortSwitch(const std::string& device);
// False when the connection is gone already, or the switch is invalid.
bool AbortConnection(const UniqueFd& abort_switch);
// Whether a file that a process has open (`fd`: its entry in /proc) is the switch of that mount.
bool IsAbortSwitch(const std::string& fd, std::string_view device);

}  // namespace chainfs
