// SPDX-License-Identifier: Apache-2.0
#include "fusefs/daemonize.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#ifdef CHAINFS_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace chainfs::fusefs {
namespace {

// What the original process does: waits for the other one's word.
[[noreturn]] void WaitForOther(pid_t other, const UniqueFd& from_other) {
  char word = 0;
  ssize_t got = 0;
  do {
    got = ::read(from_other.get(), &word, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) ::_exit(0);
  int status = 0;
  while (::waitpid(other, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

}  // namespace

void EnsureStandardDescriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    // The lowest free number is taken, which is this one.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return;
  }
}

void PrepareProcess() {
#ifdef M_ARENA_MAX
  // What is let go of goes back to the host: by itself, glibc keeps large blocks once it has seen a
  // few of them, and each arena what it once held. Beside hundreds of bad images, the peak with
  // four arenas is twice that with one; two, because allocations of more than a KiB take an arena's
  // lock.
  ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
  ::mallopt(M_ARENA_MAX, 2);
#endif
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // EFBIG instead
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    constexpr rlim_t kPlenty = 1 << 20;
    const rlimit more = {.rlim_cur = std::max(limit.rlim_max, kPlenty),
                         .rlim_max = std::max(limit.rlim_max, kPlenty)};
    if (::setrlimit(RLIMIT_NOFILE, &more) != 0) {
      limit.rlim_cur = limit.rlim_max;
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
  }
  // Needs CAP_SYS_RESOURCE; every thread started later inherits it.
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

Result<Background> Background::Enter(bool foreground) {
  Background background;
  if (foreground) return background;
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno(errno, "pipe");
  const UniqueFd from_other(ends[0]);
  background.to_original_ = UniqueFd(ends[1]);
  const pid_t other = ::fork();
  if (other < 0) return FailErrno(errno, "fork");
  if (other > 0) {
    {
      const UniqueFd not_here = std::move(background.to_original_);
    }
    WaitForOther(other, from_other);
  }
  ::setsid();
  if (::chdir("/") != 0) return FailErrno(errno, "chdir /");
  return background;
}

void Background::Announce() {
  if (!to_original_.valid()) return;
  detached_ = true;
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null.valid()) {
    for (int fd = 0; fd <= 2; ++fd) ::dup2(null.get(), fd);
  }
  // If the original process has been killed meanwhile, nobody needs to know.
  if (::write(to_original_.get(), "R", 1) < 0) return;
  const UniqueFd done = std::move(to_original_);
}

Status WritePidFile(const std::string& path, pid_t pid) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  const std::string text = fmt::format("{}\n", pid);
  if (!fd.valid() ||
      ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return FailErrno(errno, fmt::format("pid file {}", path));
  }
  return {};
}

void NotifyServiceManager([[maybe_unused]] const char* state) {
#ifdef CHAINFS_HAVE_SYSTEMD
  ::sd_notify(0, state);
#endif
}

}  // namespace chainfs::fusefs
