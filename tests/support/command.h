// SPDX-License-Identifier: Apache-2.0
//
// RunCommand: runs a program without a shell and collects what it says. A program that hangs is
// killed after a generous guard time, so that the test fails with its output instead of hanging
// too; no test passes or fails by how fast something is.
//
// Command: the same for a program that runs beside the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace chainfs {

struct CommandOptions {
  std::chrono::seconds guard{300};
  std::string working_directory = {};         // empty: the test's
  std::vector<std::string> environment = {};  // "NAME=value", added to the test's
  std::string input = {};  // for stdin, then end of file; small: written before output is read
};

struct CommandResult {
  int exit_code = -1;  // 128 + signal if it was killed, 127 if it could not be run
  bool timed_out = false;
  std::string out;
  std::string err;

  bool ok() const { return exit_code == 0; }
  // For failure messages: exit code, stdout and stderr.
  std::string Describe() const;
};

// arguments[0] is looked up in PATH.
CommandResult RunCommand(const std::vector<std::string>& arguments,
                         const CommandOptions& options = {});

// Runs from construction on; killed (SIGKILL) and reaped by the destructor if still running.
class Command {
 public:
  explicit Command(const std::vector<std::string>& arguments, const CommandOptions& options = {});
  ~Command();
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  // Writes to the program's stdin; false once it is gone.
  bool Write(const std::string& text) const;
  void CloseInput();
  // Waits until stdout (since the last call) contains `text`; false if the program ends or the
  // guard time passes first.
  bool WaitForOutput(const std::string& text);
  // The same, and waits for the end of the line; what it says after `text`, without any \r.
  std::optional<std::string> WaitForLine(const std::string& text);
  // Closes stdin, collects output until the program ends, and reaps it.
  CommandResult Wait();

 private:
  // Reads what is there, waiting for news until `deadline`; false at the end of both streams.
  bool Pump(std::chrono::steady_clock::time_point deadline);

  const std::chrono::steady_clock::time_point deadline_;
  pid_t pid_ = -1;
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
  size_t seen_ = 0;  // of result_.out, by WaitForOutput
  CommandResult result_;
};

}  // namespace chainfs
