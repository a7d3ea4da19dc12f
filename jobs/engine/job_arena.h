// SPDX-License-Identifier: Apache-2.0
//
// JobArena: the threads that background work runs on: one oneTBB task arena of its own, so that
// jobs never take workers from anybody else, and one timer thread that hands work to it.
//
// The guest comes first: a thread that enters the arena lowers its priority (nice +10) and keeps it
// low, because raising it again needs a privilege.
//
// Nothing escapes: a task that throws is logged and forgotten; tasks report failure by other means.
//
// Threads: all methods, any thread. mu_ is held only to move entries in and out of the queues.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "blocklayer/base/result.h"

namespace chainfs::jobs {

// Calls `function` (which returns a Status or Result) and turns what it throws into an Error:
// std::bad_alloc becomes kNoMemory.
template <typename Function>
auto Guarded(Function&& function) -> decltype(function()) {
  try {
    return std::forward<Function>(function)();
  } catch (const std::bad_alloc&) {
    return Fail(ErrorKind::kNoMemory, "out of memory in background work");
  } catch (const std::exception& problem) {
    return Fail(ErrorKind::kIo, std::string("background work failed: ") + problem.what());
  }
}

class JobArena {
 public:
  using Task = std::function<void()>;
  using Time = std::chrono::steady_clock::time_point;

  // `threads` 0: one per core, at least 2.
  explicit JobArena(int threads);
  // Drops timers, waits until every submitted task has run.
  ~JobArena();

  int threads() const;
  // Runs `task` soon, on a thread of the arena, after those submitted before it have started.
  // False when there is no memory for it; nothing happens then.
  bool Submit(Task task);
  // Whether somebody waits for a thread: a long-running task should then submit itself again.
  bool Crowded() const;
  // Runs `task` on the timer thread at `time`. It must be quick and must not block.
  bool At(Time time, Task task);

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace chainfs::jobs
