// SPDX-License-Identifier: Apache-2.0
#include "fusefs/signal_thread.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace chainfs::fusefs {
namespace {

sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

void SignalThread::Block() {
  const sigset_t signals = HandledSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

SignalThread::SignalThread(std::function<void(int)> handle)
    : handle_(std::move(handle)), end_(::eventfd(0, EFD_CLOEXEC)) {
  const sigset_t signals = HandledSignals();
  signals_ = UniqueFd(::signalfd(-1, &signals, SFD_CLOEXEC));
  thread_ = std::thread([this] { Loop(); });
}

SignalThread::~SignalThread() {
  const uint64_t one = 1;
  while (::write(end_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void SignalThread::Loop() {
  for (;;) {
    std::array<pollfd, 2> fds = {{{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                                  {.fd = end_.get(), .events = POLLIN, .revents = 0}}};
    if (::poll(fds.data(), fds.size(), -1) < 0) continue;
    if (fds[1].revents != 0) return;
    signalfd_siginfo info = {};
    if (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      handle_(static_cast<int>(info.ssi_signo));
    }
  }
}

}  // namespace chainfs::fusefs
