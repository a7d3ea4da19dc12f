// SPDX-License-Identifier: Apache-2.0
#include "fusefs/connection_guard.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace chainfs::fusefs {

int AbortAtEnd(int lifeline, int abort_switch) {
  // Whoever stops the daemon may send them to all its processes; the daemon may need us still.
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::signal(signal, SIG_IGN);
  char byte = 0;
  while (::read(lifeline, &byte, 1) < 0) {
    if (errno != EINTR) return 1;
  }
  return ::write(abort_switch, "1", 1) == 1 ? 0 : 1;
}

ConnectionGuard::ConnectionGuard(int lifeline, int abort_switch, const std::string& program) {
  if (lifeline < 0 || abort_switch < 0) return;
  (void)helper_.Start(program, {"chainfs", kAbortAtEnd}, {.input = lifeline, .more = abort_switch});
}

}  // namespace chainfs::fusefs
