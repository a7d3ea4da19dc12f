// SPDX-License-Identifier: Apache-2.0
//
// ThreadRunner: runs the tasks of a check on threads of its own, which live as long as one Run.
#pragma once

#include "blocklayer/base/task_runner.h"

namespace chainfs::check {

class ThreadRunner final : public TaskRunner {
 public:
  // 0: one per processor, at most 16.
  explicit ThreadRunner(unsigned threads = 0);

  void Run(uint64_t count, const std::function<void(uint64_t number)>& task) override;

 private:
  const unsigned threads_;
};

}  // namespace chainfs::check
