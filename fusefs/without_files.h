// SPDX-License-Identifier: Apache-2.0
//
// For threads that may wait for our own mount: by using it, or for a lock of somebody who uses it.
// SIGKILL ends the threads that would answer, but not such a wait; and while it lasts, what the
// thread has open stays open. With /dev/fuse among that, the kernel never learns that nobody serves
// any more, and the process, and all who use the mount, hang until somebody aborts the connection.
// A thread without files does not keep it: the kernel ends what the dead threads had taken
// (FS-19 in README.md).
#pragma once

#include <functional>
#include <vector>

namespace chainfs::fusefs {

// Gives the calling thread a table of open files of its own, in which only 0 to 2 and `kept` are
// left; files that are opened later elsewhere do not come into it. Where the kernel refuses,
// nothing changes. Such a thread must not log: syslog(3) would open its socket again, for all
// threads, in the wrong table.
void LeaveFiles(std::vector<int> kept);

// Runs `call` on a thread without files, and waits for it. It makes system calls, and nothing else;
// it must not throw. On the calling thread where there can be no other.
void RunWithoutFiles(const std::function<void()>& call);

}  // namespace chainfs::fusefs
