// SPDX-License-Identifier: Apache-2.0
//
// The threads of the daemon that have one small job: signals, and the first use of the mount.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "fusefs/ready_probe.h"
#include "fusefs/signal_thread.h"

namespace chainfs::fusefs {
namespace {

TEST(SignalThread, TellsOfSignalsUntilItIsGone) {
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &before), 0);
  SignalThread::Block();
  std::atomic<int> last = 0;
  {
    const SignalThread signals([&last](int signal) { last = signal; });
    for (const int signal : {SIGUSR1, SIGTERM, SIGHUP}) {
      ASSERT_EQ(::kill(::getpid(), signal), 0);
      const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (last != signal) {
        ASSERT_LT(std::chrono::steady_clock::now(), guard) << signal;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

TEST(ReadyProbe, SaysOnceThatTheMountAnswers) {
  std::atomic<int> ready = 0;
  {
    const ReadyProbe probe("/", [&ready] { ++ready; });
  }
  EXPECT_EQ(ready, 1);
  {
    const ReadyProbe probe("/there/is/no/such/directory", [&ready] { ++ready; });
  }
  EXPECT_EQ(ready, 1);
}

}  // namespace
}  // namespace chainfs::fusefs
