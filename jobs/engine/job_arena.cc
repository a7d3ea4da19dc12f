// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_arena.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_scheduler_observer.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <thread>

#include "blocklayer/base/sync.h"
#include "jobs/engine/task_handover.h"

#ifdef CHAINFS_UNDER_TSAN
extern "C" const char* __tsan_default_suppressions();  // NOLINT: a name of the sanitizer's
extern "C" const char* __tsan_default_suppressions() { return "race_top:tbb::detail::\n"; }
#endif

namespace chainfs::jobs {
namespace {

constexpr int kBackgroundNice = 10;

// Linux keeps a priority for each thread. Failure only means that we are less polite.
void LowerPriorityOnce() {
  thread_local bool lowered = false;
  if (std::exchange(lowered, true)) return;
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kBackgroundNice);
}

int ThreadsFor(int wanted) {
  if (wanted > 0) return wanted;
  return std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
}

void RunGuarded(const JobArena::Task& task) {
  const Status status = Guarded([&]() -> Status {
    task();
    return {};
  });
  if (!status) spdlog::error("a background task was lost: {}", status.error().message);
}

}  // namespace

class JobArena::Impl {
 public:
  explicit Impl(int threads)
      : threads_(threads),
        // oneTBB makes one worker less than there are cores unless told otherwise; ours wait for
        // I/O much of the time.
        parallelism_(tbb::global_control::max_allowed_parallelism,
                     static_cast<size_t>(threads) + 1),
        arena_(threads, 0),
        timer_([this] { RunTimer(); }) {}

  ~Impl() {
    {
      MutexLock lock(mu_);
      stopping_ = true;
      timers_.clear();
      timer_news_.NotifyAll();
    }
    timer_.join();
    MutexLock lock(mu_);
    while (outstanding_ > 0) idle_.Wait(mu_);
  }

  int threads() const { return threads_; }

  // The token is enqueued under the lock, so that a failure takes back exactly this task. enqueue
  // never runs anything on the caller's thread.
  bool Submit(Task task) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    const size_t before = queue_.size();
    try {
      queue_.push_back(std::move(task));
      CHAINFS_TASK_HANDED_OVER(this);
      arena_.enqueue(RunOneTask{this});
    } catch (const std::bad_alloc&) {
      if (queue_.size() > before) queue_.pop_back();
      return false;
    }
    ++outstanding_;
    return true;
  }

  bool Crowded() const EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return !queue_.empty();
  }

  bool At(Time time, Task task) EXCLUDES(mu_) {
    try {
      MutexLock lock(mu_);
      if (stopping_) return true;
      timers_.emplace(time, std::move(task));
      timer_news_.NotifyAll();
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

 private:
  // Also of a thread that comes only to help with what a task has spread over the arena.
  class PriorityOfEntrants final : public tbb::task_scheduler_observer {
   public:
    explicit PriorityOfEntrants(tbb::task_arena& arena) : task_scheduler_observer(arena) {
      observe(true);
    }
    ~PriorityOfEntrants() override { observe(false); }
    void on_scheduler_entry(bool /*is_worker*/) override { LowerPriorityOnce(); }
  };

  struct RunOneTask {
    Impl* impl;
    CHAINFS_TASK_BODY void operator()() const {
      CHAINFS_TASK_TAKEN_OVER(impl);
      impl->RunOne();
    }
  };

  void RunOne() EXCLUDES(mu_) {
    Task task;
    {
      MutexLock lock(mu_);
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    RunGuarded(task);
    task = nullptr;  // what it held goes before the arena is called idle
    MutexLock lock(mu_);
    if (--outstanding_ == 0) idle_.NotifyAll();
  }

  void RunTimer() EXCLUDES(mu_) {
    mu_.Lock();
    while (!stopping_) {
      if (timers_.empty()) {
        timer_news_.Wait(mu_);
        continue;
      }
      const auto first = timers_.begin();
      if (first->first > std::chrono::steady_clock::now()) {
        timer_news_.WaitUntil(mu_, first->first);
        continue;
      }
      const Task task = std::move(first->second);
      timers_.erase(first);
      mu_.Unlock();
      RunGuarded(task);
      mu_.Lock();
    }
    mu_.Unlock();
  }

  const int threads_;
  mutable Mutex mu_;
  CondVar idle_;
  CondVar timer_news_;
  std::deque<Task> queue_ GUARDED_BY(mu_);
  size_t outstanding_ GUARDED_BY(mu_) = 0;  // queued or running
  std::multimap<Time, Task> timers_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  tbb::global_control parallelism_;
  tbb::task_arena arena_;
  PriorityOfEntrants priority_{arena_};
  std::thread timer_;
};

JobArena::JobArena(int threads) : impl_(std::make_unique<Impl>(ThreadsFor(threads))) {}
JobArena::~JobArena() = default;
int JobArena::threads() const { return impl_->threads(); }
bool JobArena::Submit(Task task) { return impl_->Submit(std::move(task)); }
bool JobArena::Crowded() const { return impl_->Crowded(); }
bool JobArena::At(Time time, Task task) { return impl_->At(time, std::move(task)); }

}  // namespace chainfs::jobs
