// SPDX-License-Identifier: Apache-2.0
//
// The exit codes of chainctl, which scripts rely on.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "blocklayer/base/error.h"

namespace chainfs::chainctl {

enum class ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kCancelled = 3,
  kStillRunning = 4,  // timed out or detached; the job goes on
  kRefused = 5,       // busy, stale generation, or the id or target exists
  kNotChainfs = 6,    // not a chainfs file, or the daemon is gone
  kNotPermitted = 7,
  // `check` has the codes of qemu-img check, whatever else they mean.
  kCorruptions = 2,
  kLeaks = 3,
  kNotCheckable = 63,
};

struct ExitCodeRow {
  ExitCode code;
  std::string_view help;  // one line, without a full stop
};
// All of them, ascending.
std::span<const ExitCodeRow> ExitCodes();

// The errno decides where there is one, otherwise the kind.
ExitCode ExitCodeFor(const Error& error);

// An error of a system call on the mount: kind from `saved_errno`, which is kept; `message` is the
// whole sentence.
std::unexpected<Error> FailMounted(int saved_errno, std::string message);

}  // namespace chainfs::chainctl
