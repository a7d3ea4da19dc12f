// SPDX-License-Identifier: Apache-2.0
//
// umount: unmount, then wait until the daemon has ended. The kernel's umount returns while the
// daemon still writes metadata; whoever copies or moves the images then gets half of it. The daemon
// is held by a pidfd taken before the unmount, so that a reused pid cannot be mistaken for it.
#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "ctl/client.h"
#include "ctl/commands.h"
#include "ctl/fd.h"
#include "ctl/json_access.h"
#include "ctl/mounts.h"
#include "ctl/output.h"

namespace chainfs {
namespace {

struct Daemon {
  int pid = 0;
  Fd handle;  // none: it ended already, or lives where we cannot see it
};

// The path as the kernel lists it, without asking the file system that is mounted there (its daemon
// may be dead): only what is above it is resolved.
std::string ListedPath(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                             &std::free);
      real) {
    return real.get();
  }
  const size_t slash = path.rfind('/');
  const std::string above =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(above.c_str(), nullptr),
                                                         &std::free);
  if (!real) return path;
  return std::strcmp(real.get(), "/") == 0 ? "/" + name : std::string(real.get()) + "/" + name;
}

Daemon FindDaemon(const std::string& mount) {
  Daemon daemon;
  const Result<nlohmann::json> config = ReadJsonAttribute(mount, "config");
  if (!config) return daemon;
  const uint64_t pid = NumberOf(*config, "pid");
  if (pid == 0 || pid > INT_MAX) return daemon;
  daemon.pid = static_cast<int>(pid);
  daemon.handle = Fd(static_cast<int>(syscall(SYS_pidfd_open, daemon.pid, 0)));
  return daemon;
}

std::unexpected<Error> FailUnmount(int saved_errno, const std::string& mount,
                                   const std::string& reason) {
  if (saved_errno == EBUSY) {
    return FailMounted(EBUSY,
                       fmt::format("{}: is in use; `fuser -vm {}` shows by whom", mount, mount));
  }
  return FailMounted(saved_errno, fmt::format("{}: {}", mount, reason));
}

// As an ordinary user: the set-uid helper of FUSE.
Status UnmountByHelper(const std::string& mount) {
  std::array<int, 2> ends = {};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno(errno, "pipe");
  const Fd from(ends[0]);
  Fd to(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, to.get(), STDERR_FILENO);
  std::string program = "fusermount3";
  std::string option = "-u";
  std::string separator = "--";
  std::string path = mount;
  const std::array<char*, 5> arguments = {program.data(), option.data(), separator.data(),
                                          path.data(), nullptr};
  pid_t pid = 0;
  const int failed =
      posix_spawnp(&pid, "fusermount3", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  to.Reset();
  if (failed != 0) {
    return FailUnmount(EPERM, mount, "only root may unmount without fusermount3 (package fuse3)");
  }
  std::string words;
  std::array<char, 512> buffer = {};
  for (ssize_t got = 0; (got = read(from.get(), buffer.data(), buffer.size())) > 0;) {
    words.append(buffer.data(), static_cast<size_t>(got));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (!words.empty() && words.back() == '\n') words.pop_back();
  const bool busy = words.find("busy") != std::string::npos;
  const bool refused = words.find("not permitted") != std::string::npos;
  return FailUnmount(busy ? EBUSY : refused ? EPERM : EIO, mount, SafeText(words));
}

Status Unmount(const std::string& mount) {
  if (umount2(mount.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  const int saved_errno = errno;
  if (saved_errno == EPERM) return UnmountByHelper(mount);
  return FailUnmount(saved_errno, mount, std::strerror(saved_errno));
}

// Whether it ended within the time.
bool WaitForEnd(const Daemon& daemon, std::optional<double> timeout, bool quiet) {
  constexpr int kRemarkAfter = 3000;  // milliseconds
  const double limit = timeout ? std::clamp(*timeout, 0.0, 1e6) * 1000 : -1;
  pollfd wanted{.fd = daemon.handle.get(), .events = POLLIN, .revents = 0};
  const int first = limit < 0 ? kRemarkAfter : std::min(kRemarkAfter, static_cast<int>(limit));
  if (poll(&wanted, 1, first) > 0) return true;
  if (limit >= 0 && first >= static_cast<int>(limit)) return false;
  if (!quiet) Note(fmt::format("umount: waiting for daemon {} to write what it holds", daemon.pid));
  return poll(&wanted, 1, limit < 0 ? -1 : static_cast<int>(limit) - first) > 0;
}

}  // namespace

Result<ExitCode> RunUmount(const UmountOptions& options, const CommonOptions& common) {
  const std::string mount = ListedPath(options.mount);
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, ChainfsMounts());
  if (std::ranges::find(mounts, mount) == mounts.end()) {
    return FailMounted(ENODATA, fmt::format("{}: is not a chainfs mount point", options.mount));
  }
  const Daemon daemon = FindDaemon(mount);
  CHAINFS_TRY(Unmount(mount));
  const bool seen = static_cast<bool>(daemon.handle);
  const bool ended = seen && WaitForEnd(daemon, options.timeout, common.quiet);
  if (common.json) {
    Print(OneLine({{"mount", mount},
                   {"unmounted", true},
                   {"pid", daemon.pid},
                   {"daemon-ended", ended || (daemon.pid != 0 && !seen)}}) +
          "\n");
  }
  if (seen && !ended) {
    Note(fmt::format("umount: {}: unmounted, but daemon {} is still writing", mount, daemon.pid));
    return ExitCode::kStillRunning;
  }
  if (!seen && !common.quiet) {
    Note(
        fmt::format("umount: {}: the daemon was gone already, or cannot be seen from here", mount));
  }
  if (seen && !common.json && !common.quiet) {
    Print(fmt::format("{}: unmounted; the daemon has ended\n", mount));
  }
  return ExitCode::kDone;
}

}  // namespace chainfs
