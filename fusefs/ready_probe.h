// SPDX-License-Identifier: Apache-2.0
//
// ReadyProbe: finds out when a mount serves, by using it once, from a thread of its own.
//
// Threads: construction and destruction belong to the main thread.
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace chainfs::fusefs {

class ReadyProbe {
 public:
  // `ready` runs once on the probe's thread, when a request has been answered; not at all when the
  // connection ends before.
  ReadyProbe(const std::string& mountpoint, std::function<void()> ready);
  // Waits for the probe, whose request the serving threads must have answered or the end of the
  // connection failed.
  ~ReadyProbe() { thread_.join(); }
  ReadyProbe(const ReadyProbe&) = delete;
  ReadyProbe& operator=(const ReadyProbe&) = delete;

 private:
  std::thread thread_;
};

}  // namespace chainfs::fusefs
