// SPDX-License-Identifier: Apache-2.0
//
// Where log lines go: standard error in the foreground, syslog in the background.
#pragma once

namespace chainfs::fusefs {

// Before there is a mount: standard error. In the background only warnings, because the lines land
// on the terminal of whoever mounts.
void StartLogging(bool foreground, bool debug);
// The terminal has been let go.
void LogToSyslog();

}  // namespace chainfs::fusefs
