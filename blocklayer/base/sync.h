// SPDX-License-Identifier: Apache-2.0
//
// Mutexes and condition variables that clang's -Wthread-safety understands. Everything in chainfs
// locks through these; std::mutex appears nowhere else. Annotate declarations in headers with the
// lock that they need; annotations do not travel through std::function or virtual overrides.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define CHAINFS_TSA(x) __attribute__((x))
#else
#define CHAINFS_TSA(x)
#endif

#define CAPABILITY(x) CHAINFS_TSA(capability(x))
#define SCOPED_CAPABILITY CHAINFS_TSA(scoped_lockable)
#define GUARDED_BY(x) CHAINFS_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) CHAINFS_TSA(pt_guarded_by(x))
#define ACQUIRED_BEFORE(...) CHAINFS_TSA(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) CHAINFS_TSA(acquired_after(__VA_ARGS__))
#define REQUIRES(...) CHAINFS_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) CHAINFS_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) CHAINFS_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) CHAINFS_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) CHAINFS_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) CHAINFS_TSA(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) CHAINFS_TSA(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) CHAINFS_TSA(try_acquire_capability(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) CHAINFS_TSA(assert_capability(x))
#define EXCLUDES(...) CHAINFS_TSA(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS CHAINFS_TSA(no_thread_safety_analysis)

namespace chainfs {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }
  bool TryLock() TRY_ACQUIRE(true) { return mu_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mu_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~MutexLock() RELEASE() { mu_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mu_;
};

// Readers-writer lock. glibc's prefers readers; do not hold it shared for unbounded time where a
// writer must make progress.
class CAPABILITY("shared_mutex") SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void Lock() ACQUIRE() { mu_.lock(); }
  void Unlock() RELEASE() { mu_.unlock(); }
  void LockShared() ACQUIRE_SHARED() { mu_.lock_shared(); }
  void UnlockShared() RELEASE_SHARED() { mu_.unlock_shared(); }

 private:
  std::shared_mutex mu_;
};

class SCOPED_CAPABILITY WriterLock {
 public:
  explicit WriterLock(SharedMutex& mu) ACQUIRE(mu) : mu_(mu) { mu_.Lock(); }
  ~WriterLock() RELEASE() { mu_.Unlock(); }
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

 private:
  SharedMutex& mu_;
};

class SCOPED_CAPABILITY ReaderLock {
 public:
  explicit ReaderLock(SharedMutex& mu) ACQUIRE_SHARED(mu) : mu_(mu) { mu_.LockShared(); }
  ~ReaderLock() RELEASE_GENERIC() { mu_.UnlockShared(); }
  ReaderLock(const ReaderLock&) = delete;
  ReaderLock& operator=(const ReaderLock&) = delete;

 private:
  SharedMutex& mu_;
};

class CondVar {
 public:
  // Both release `mu` while waiting and hold it again on return. Spurious wake-ups happen.
  void Wait(Mutex& mu) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // False when `deadline` has passed.
  bool WaitUntil(Mutex& mu, std::chrono::steady_clock::time_point deadline) REQUIRES(mu) {
    std::unique_lock<std::mutex> lock(mu.mu_, std::adopt_lock);
    const bool in_time = cv_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { cv_.notify_one(); }
  void NotifyAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace chainfs
