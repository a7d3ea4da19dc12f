// SPDX-License-Identifier: Apache-2.0
//
// HelperProcess: one child process that does what a thread of the daemon must not, because it may
// wait for our own mount. It has none of our files but those that it is given, so it keeps no
// connection alive, and what it waits for ends when we do.
//
// Threads: one at a time.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace chainfs::fusefs {

class HelperProcess {
 public:
  // This program itself, also after another one has been installed in its place.
  static constexpr const char* kOurselves = "/proc/self/exe";

  // Of our files, those that it has, by our numbers; -1: none.
  struct Files {
    int input = -1;  // its standard input
    int more = -1;   // its number 3
  };

  HelperProcess() = default;
  ~HelperProcess() { End(); }
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  // Output and errors go where ours go. False when there can be no such process, or one is there
  // already.
  bool Start(const std::string& program, std::vector<std::string> words, Files files);
  bool running() const { return pid_ > 0; }
  // The exit code once it has ended, -1 for a signal. Does not wait. Then another may be started.
  std::optional<int> Ended();
  // Kills it. Waits, but not for ever, until it has ended.
  void End();

 private:
  pid_t pid_ = 0;
};

}  // namespace chainfs::fusefs
