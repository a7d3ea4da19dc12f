// SPDX-License-Identifier: Apache-2.0
//
// A server of a FUSE file system that was killed (by the OOM killer, say) while one of its threads
// told the kernel what to forget: that thread may wait for a lock whose holder waits for an answer
// of this very server. SIGKILL does not end that, so the process keeps /dev/fuse, and neither it
// nor anybody who uses the mount gets on until the connection is aborted.
//
// The connection of a process is known where the kernel tells (fdinfo of /dev/fuse, in newer ones),
// or where the process has opened the switch that aborts it, as chainfs does. It must be root's, or
// of the user who asks.
//
// Threads: no state.
#pragma once

#include <string>

namespace chainfs {

// The process that serves the FUSE file system of the device number ("0:52") and is being killed; 0
// if none is seen. One that only hangs, or was stopped, is none.
int DyingServerOf(const std::string& device, const std::string& proc = "/proc");

// If there is one: aborts the connection, so that whatever waits fails with ENOTCONN, and waits a
// few seconds for the process to end. Its id; 0 if there is none, or it does not end. The mount on
// `mount` may go with it.
int EndDyingServer(const std::string& mount, const std::string& device);

}  // namespace chainfs
