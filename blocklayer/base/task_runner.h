// SPDX-License-Identifier: Apache-2.0
//
// TaskRunner: threads for work that can be split, handed to code that has none of its own.
#pragma once

#include <cstdint>
#include <functional>

namespace chainfs {

class TaskRunner {
 public:
  TaskRunner() = default;
  virtual ~TaskRunner() = default;
  TaskRunner(const TaskRunner&) = delete;
  TaskRunner& operator=(const TaskRunner&) = delete;

  // Calls `task` once with each number below `count`, perhaps from several threads at once, and
  // returns when all calls have. The next call of a thread is not begun after one has thrown; what
  // it threw is thrown again.
  virtual void Run(uint64_t count, const std::function<void(uint64_t number)>& task) = 0;
};

// The caller's own thread.
class InlineTaskRunner final : public TaskRunner {
 public:
  void Run(uint64_t count, const std::function<void(uint64_t number)>& task) override {
    for (uint64_t i = 0; i < count; ++i) task(i);
  }
};

}  // namespace chainfs
