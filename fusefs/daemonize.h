// SPDX-License-Identifier: Apache-2.0
//
// Going to the background so that the exit code of the command says whether the mount works: the
// process that was started waits until the one behind it reports or dies.
//
// Also the small change of a process's start: standard descriptors, limits, the pid file, systemd.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs::fusefs {

// Descriptors 0 to 2 must be open, or an image would get one of these numbers and a message meant
// for a person would be written into it.
void EnsureStandardDescriptors();
// As many open files as we may have; signals that must not kill; memory reclaim must not wait for
// I/O that waits for us.
void PrepareProcess();

class Background {
 public:
  // Forks unless `foreground`. The original process never returns from here: it exits with 0 once
  // Announce is called in the other one, or with that one's exit code. Call before there are
  // threads.
  static Result<Background> Enter(bool foreground);

  // The mount serves: lets the original process go, and this one lets go of the terminal.
  void Announce();
  // The terminal has been let go: messages must go to the log.
  bool detached() const { return detached_; }

 private:
  UniqueFd to_original_;
  bool detached_ = false;
};

Status WritePidFile(const std::string& path, pid_t pid);
// To systemd, if it started us: "READY=1". Does nothing otherwise.
void NotifyServiceManager(const char* state);

}  // namespace chainfs::fusefs
