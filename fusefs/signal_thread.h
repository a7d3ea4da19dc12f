// SPDX-License-Identifier: Apache-2.0
//
// SignalThread: waits for signals on a thread of its own, so that what they cause may block and
// lock.
//
// Threads: Block before the process has a second thread; construction and destruction belong to the
// main thread.
#pragma once

#include <functional>
#include <thread>

#include "blocklayer/base/unique_fd.h"

namespace chainfs::fusefs {

class SignalThread {
 public:
  // Keeps SIGTERM, SIGINT, SIGHUP and SIGUSR1 from the calling thread and those that it starts.
  static void Block();

  // `handle` is called with the number of each of them, one at a time.
  explicit SignalThread(std::function<void(int)> handle);
  ~SignalThread();
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

 private:
  void Loop();

  const std::function<void(int)> handle_;
  const UniqueFd end_;
  UniqueFd signals_;
  std::thread thread_;
};

}  // namespace chainfs::fusefs
