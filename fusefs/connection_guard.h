// SPDX-License-Identifier: Apache-2.0
//
// ConnectionGuard: ends the connection of a daemon that is killed while one of its threads has the
// kernel write pages back. SIGKILL does not end that thread: what it waits for nobody takes any
// more, and as long as it waits it keeps /dev/fuse, so the kernel would not give up either (FS-19
// in README.md). A helper process waits beside it for the daemon's files to be closed, and then
// aborts the connection.
//
// Threads: one.
#pragma once

#include <string>

#include "fusefs/helper_process.h"

namespace chainfs::fusefs {

inline constexpr const char* kAbortAtEnd = "--abort-at-end";

// What `chainfs --abort-at-end` does: waits for the end of the pipe `lifeline`, then writes to
// `abort_switch`. An exit code.
int AbortAtEnd(int lifeline, int abort_switch);

class ConnectionGuard {
 public:
  // The other end of `lifeline` must be open in no table of files but that of the threads which
  // serve. Where there is no switch (-1), or no process can be started, nobody guards.
  ConnectionGuard(int lifeline, int abort_switch,
                  const std::string& program = HelperProcess::kOurselves);
  // The daemon goes on.
  ~ConnectionGuard() { helper_.End(); }

 private:
  HelperProcess helper_;
};

}  // namespace chainfs::fusefs
