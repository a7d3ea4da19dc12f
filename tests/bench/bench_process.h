// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark runs: programs to their end (RunOrFail) and servers beside it (Server). A
// benchmark has nothing to say after a failure, so everything here ends the program with one line
// on stderr; servers die with it, and tests/bench/run unmounts and removes what is left.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace chainfs::bench {

[[noreturn]] void Fail(std::string_view message);

// Standard output of a program that must succeed.
std::string RunOrFail(const std::vector<std::string>& arguments, const std::string& input = "");

// Monotonic seconds.
double Now();

// Calls `ready` every millisecond until it is true; fails naming `what` after a minute.
void WaitFor(std::string_view what, const std::function<bool()>& ready);

// A program in the background; its output goes to LOG. Stopped by SIGTERM in the destructor.
class Server {
 public:
  Server(const std::vector<std::string>& arguments, const std::string& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // WaitFor, but fails at once, with the log, when the program ends first.
  void WaitUntil(std::string_view what, const std::function<bool()>& ready);
  uint64_t ResidentBytes() const;

 private:
  const std::string program_;
  const std::string log_;
  pid_t pid_ = -1;
};

}  // namespace chainfs::bench
