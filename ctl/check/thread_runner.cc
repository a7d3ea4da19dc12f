// SPDX-License-Identifier: Apache-2.0
#include "ctl/check/thread_runner.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"

namespace chainfs::check {
namespace {

constexpr unsigned kMostThreads = 16;

// What the threads of one Run share.
class SharedTasks {
 public:
  SharedTasks(uint64_t count, const std::function<void(uint64_t)>& task)
      : count_(count), task_(task) {}

  void Work() {
    try {
      for (;;) {
        const uint64_t number = next_.fetch_add(1, std::memory_order_relaxed);
        if (number >= count_) return;
        task_(number);
      }
    } catch (...) {
      next_.store(count_, std::memory_order_relaxed);
      MutexLock lock(mu_);
      if (!thrown_) thrown_ = std::current_exception();
    }
  }
  void ThrowAgain() {
    MutexLock lock(mu_);
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  const uint64_t count_;
  const std::function<void(uint64_t)>& task_;
  std::atomic<uint64_t> next_ = 0;
  Mutex mu_;
  std::exception_ptr thrown_ GUARDED_BY(mu_);
};

}  // namespace

ThreadRunner::ThreadRunner(unsigned threads)
    : threads_(threads != 0 ? threads
                            : std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads)) {}

void ThreadRunner::Run(uint64_t count, const std::function<void(uint64_t number)>& task) {
  SharedTasks tasks(count, task);
  {
    std::vector<std::jthread> threads;
    const uint64_t others = std::min<uint64_t>(threads_, count);
    // The caller works, too, so that a host that has no thread left only makes it slow.
    for (uint64_t i = 1; i < others; ++i) {
      try {
        threads.emplace_back([&tasks] { tasks.Work(); });
      } catch (const std::system_error&) {
        break;
      }
    }
    tasks.Work();
  }
  tasks.ThrowAgain();
}

}  // namespace chainfs::check
