// SPDX-License-Identifier: Apache-2.0
//
// The keeper's side of keeper.h: what runs in the second process.
#pragma once

#include <sys/types.h>

#include "fusefs/options.h"

namespace chainfs::fusefs {

// First words of requests. Each request brings the socket for its answer: an errno (0: done) and,
// if that is not 0, a sentence; or as Keeper says.
inline constexpr const char* kKeeperMount = "mount";
inline constexpr const char* kKeeperSwitch = "abort-switch";
inline constexpr const char* kKeeperUnmount = "unmount";  // "polite" or "lazy"
inline constexpr const char* kKeeperSync = "sync";
inline constexpr const char* kKeeperReadAhead = "read-ahead";  // KIBIBYTES
inline constexpr const char* kKeeperWritePid = "write-pid-file";
inline constexpr const char* kKeeperRemovePid = "remove-pid-file";
inline constexpr const char* kKeeperTellLoops = "tell-loops";  // the words of a LoopTask

// Serves what comes by `socket` until it ends, and then ends the process. `daemon`: whose keeper it
// is. Call in a process that has one thread.
[[noreturn]] void RunKeeper(const Options& options, pid_t daemon, int socket);

}  // namespace chainfs::fusefs
