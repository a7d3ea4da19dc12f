// SPDX-License-Identifier: Apache-2.0
//
// Qmp: the few words of QEMU's control protocol that a stream needs, over its UNIX socket.
#pragma once

#include <deque>
#include <string>
#include <string_view>

namespace chainfs::bench {

class Qmp {
 public:
  // Connects and leaves the negotiation mode.
  explicit Qmp(const std::string& socket_path);
  ~Qmp();
  Qmp(const Qmp&) = delete;
  Qmp& operator=(const Qmp&) = delete;

  // Runs a block-stream job on a node to its end.
  void Stream(const std::string& node);

 private:
  // Events that arrive before the answer are kept for WaitForEvent.
  void Execute(const std::string& command);
  std::string WaitForEvent(std::string_view name);
  std::string NextLine();

  int fd_ = -1;
  std::string pending_;  // received, not yet a whole line
  std::deque<std::string> events_;
};

}  // namespace chainfs::bench
