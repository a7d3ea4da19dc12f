// SPDX-License-Identifier: Apache-2.0
//
// JobArena: every thread that works for it is a polite one.
#include "jobs/engine/job_arena.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "blocklayer/base/sync.h"

namespace chainfs::jobs {
namespace {

TEST(JobArenaTest, WhoHelpsWithATaskHasLowPriorityToo) {
  Mutex mu;
  std::set<pid_t> threads;
  std::atomic<int> impolite = 0;
  {
    JobArena arena(4);
    ASSERT_TRUE(arena.Submit([&] {
      tbb::parallel_for(
          0, 64,
          [&](int) {
            if (getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())) < 10) ++impolite;
            {
              const MutexLock lock(mu);
              threads.insert(gettid());
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
          },
          tbb::simple_partitioner());
    }));
  }
  EXPECT_GT(threads.size(), 1u);
  EXPECT_EQ(impolite, 0);
}

}  // namespace
}  // namespace chainfs::jobs
