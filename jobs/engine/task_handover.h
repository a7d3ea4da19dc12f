// SPDX-License-Identifier: Apache-2.0
//
// oneTBB is not built for ThreadSanitizer, which therefore does not see that handing over a task
// orders memory. Two calls say so; reports from within oneTBB's own inline functions are left out
// (job_arena.cc).
#pragma once

#if defined(__SANITIZE_THREAD__)
#define CHAINFS_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHAINFS_UNDER_TSAN 1
#endif
#endif
#ifdef CHAINFS_UNDER_TSAN
#include <sanitizer/tsan_interface.h>
#define CHAINFS_TASK_HANDED_OVER(address) __tsan_release(address)
#define CHAINFS_TASK_TAKEN_OVER(address) __tsan_acquire(address)
// What a task carries itself is written and read by oneTBB's inline functions and in its body only.
#define CHAINFS_TASK_BODY __attribute__((no_sanitize("thread"), noinline))
#else
#define CHAINFS_TASK_HANDED_OVER(address) static_cast<void>(address)
#define CHAINFS_TASK_TAKEN_OVER(address) static_cast<void>(address)
#define CHAINFS_TASK_BODY
#endif
