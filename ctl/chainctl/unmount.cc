// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/unmount.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "blocklayer/base/unique_fd.h"
#include "ctl/chainctl/exit_code.h"
#include "ctl/chainctl/mounts.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

std::optional<std::string> PathWithoutLinks(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (!real) return std::nullopt;
  return std::string(real.get());
}

// As an ordinary user: the set-uid helper of FUSE.
Status UnmountByHelper(const std::string& mount) {
  std::array<int, 2> ends = {};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno(errno, "pipe");
  const UniqueFd from(ends[0]);
  UniqueFd to(ends[1]);
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
  to = UniqueFd();
  if (failed != 0) {
    return FailMounted(EPERM, "only root may unmount without fusermount3 (package fuse3)");
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
  return FailMounted(busy ? EBUSY : refused ? EPERM : EIO, SafeText(words));
}

}  // namespace

Result<std::string> FindMountPoint(const std::string& given) {
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, ChainfsMounts());
  const auto listed = [&](const std::string& path) {
    return std::ranges::find(mounts, path) != mounts.end();
  };
  std::string path = given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const size_t slash = path.rfind('/');
  const std::string above =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  if (const std::optional<std::string> real = PathWithoutLinks(above)) {
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    std::string candidate = (*real == "/" ? "" : *real) + "/" + name;
    if (listed(candidate)) return candidate;
  }
  // A link to the mount point, or "." in it.
  if (std::optional<std::string> real = PathWithoutLinks(path); real && listed(*real)) {
    return *std::move(real);
  }
  return FailMounted(ENODATA, given + ": is not a chainfs mount point");
}

Status Unmount(const std::string& mount) {
  if (umount2(mount.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
  const int saved_errno = errno;
  if (saved_errno == EPERM) return UnmountByHelper(mount);
  return FailMounted(saved_errno, std::strerror(saved_errno));
}

}  // namespace chainfs::chainctl
