// SPDX-License-Identifier: Apache-2.0
//
// Qmp: the few words of QEMU's control protocol that jobs need, over its UNIX socket.
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "tests/bench/bench_contestant.h"

namespace chainfs::bench {

class Qmp {
 public:
  // Connects and leaves the negotiation mode.
  explicit Qmp(const std::string& socket_path);
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  // Runs a job on a node to its end.
  void Run(const BenchJob& job, const std::string& node);

 private:
  // Makes the target of a job and opens it as the node "target".
  void AddTarget(const BenchJob& job);
  // Events that arrive before the answer are kept for WaitForEvent.
  void Execute(const std::string& command);
  std::string WaitForEvent(std::string_view name);
  std::string NextLine();

  int fd_ = -1;
  std::string pending_;  // received, not yet a whole line
  std::deque<std::string> events_;
};

}  // namespace chainfs::bench
