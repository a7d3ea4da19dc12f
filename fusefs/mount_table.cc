// SPDX-License-Identifier: Apache-2.0
#include "fusefs/mount_table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "blocklayer/base/dying_server.h"
#include "blocklayer/base/mountinfo.h"

namespace chainfs::fusefs {
namespace {

// fusermount3 -u [-z] MOUNTPOINT; its exit code, or -1.
int RunFusermount(const std::string& mountpoint, UnmountMode mode) {
  std::string program = "fusermount3";
  std::string unmount = mode == UnmountMode::kLazy ? "-uzq" : "-uq";
  std::string end = "--";
  std::string where = mountpoint;
  char* const arguments[] = {program.data(), unmount.data(), end.data(), where.data(), nullptr};
  pid_t pid = 0;
  if (::posix_spawnp(&pid, program.c_str(), nullptr, nullptr, arguments, environ) != 0) return -1;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void WriteKnob(const std::string& path, const std::string& value) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || ::write(fd.get(), value.data(), value.size()) < 0) {
    spdlog::debug("{}: {}", path, ErrnoText(errno));
  }
}

// A mount of a daemon that is dying answers nobody, and is none of a dead one yet.
void EndServerThatCannotEnd(const std::string& mountpoint) {
  // Unlike stat, it asks no file system at the end of the path.
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(mountpoint.c_str(), nullptr),
                                                         &std::free);
  if (!real) return;
  const std::optional<std::string> device = MountDevice(real.get());
  if (!device) return;
  if (const int pid = EndDyingServer(real.get(), *device); pid != 0) {
    spdlog::warn("{}: daemon {} was killed but could not end; aborted its connection", mountpoint,
                 pid);
  }
}

// Paths without symbolic links. False for an empty `path`, which is what a missing one gives.
bool LiesWithin(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [rest, differs] =
      std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return rest == directory.end();
}

}  // namespace

Result<std::string> PrepareMountpoint(const std::string& mountpoint,
                                      const std::vector<std::string>& needed) {
  // statfs asks the daemon; stat would be content with what the kernel remembers of it.
  struct statfs fs = {};
  const auto look = [&] {
    EndServerThatCannotEnd(mountpoint);
    return ::statfs(mountpoint.c_str(), &fs) == 0 ? 0 : errno;
  };
  int error = look();
  constexpr int kMostStacked = 16;
  for (int i = 0; error == ENOTCONN && i < kMostStacked; ++i) {
    spdlog::warn("{}: cleaning up the mount of a dead daemon", mountpoint);
    CHAINFS_TRY(Unmount(mountpoint, UnmountMode::kLazy));
    error = look();
  }
  if (error != 0) return FailErrno(error, fmt::format("mount point {}", mountpoint));
  struct stat st = {};
  if (::stat(mountpoint.c_str(), &st) != 0) {
    return FailErrno(errno, fmt::format("mount point {}", mountpoint));
  }
  if (!S_ISDIR(st.st_mode)) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("mount point {} is not a directory", mountpoint));
  }
  std::error_code failure;
  const std::filesystem::path real = std::filesystem::canonical(mountpoint, failure);
  if (failure) return FailErrno(failure.value(), fmt::format("mount point {}", mountpoint));
  CHAINFS_TRY(CheckNotMounted(real.string()));
  for (const std::string& path : needed) {
    if (!LiesWithin(std::filesystem::canonical(path, failure), real)) continue;
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("mount point {}: the mount would hide {}, which it shows; mount "
                            "somewhere else",
                            mountpoint, path));
  }
  return real.string();
}

Status CheckNotMounted(const std::string& mountpoint) {
  if (!MountDevice(mountpoint)) return {};
  return Fail(ErrorKind::kBusy,
              fmt::format("mount point {}: chainfs is mounted there already; unmount it first "
                          "(chainctl umount {}), or mount somewhere else",
                          mountpoint, mountpoint));
}

Status Unmount(const std::string& mountpoint, UnmountMode mode) {
  int error = 0;
  const int flags = mode == UnmountMode::kLazy ? MNT_DETACH : 0;
  if (::umount2(mountpoint.c_str(), flags) != 0) error = errno;
  if (error == 0) return {};
  if (error == EPERM && RunFusermount(mountpoint, mode) == 0) return {};
  return FailErrno(error == EPERM ? EBUSY : error, fmt::format("unmounting {}", mountpoint));
}

std::optional<std::string> MountDevice(const std::string& mountpoint) {
  std::optional<std::string> device;
  const Result<std::vector<MountEntry>> mounts = OwnMounts();
  if (!mounts) return device;
  for (const MountEntry& entry : *mounts) {
    if (entry.path != mountpoint) continue;
    device = entry.type == "fuse.chainfs" ? std::optional(entry.device) : std::nullopt;
  }
  return device;
}

dev_t DeviceNumber(const std::string& device) {
  unsigned major = 0;
  unsigned minor = 0;
  if (std::sscanf(device.c_str(), "%u:%u", &major, &minor) != 2) return 0;
  return ::makedev(major, minor);
}

void RaiseReadAhead(const std::string& device, unsigned kibibytes) {
  WriteKnob(fmt::format("/sys/class/bdi/{}/read_ahead_kb", device), fmt::format("{}", kibibytes));
}

void SyncMount(const std::string& mountpoint) {
  const UniqueFd fd(::open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::syncfs(fd.get()) != 0) {
    spdlog::debug("syncfs {}: {}", mountpoint, ErrnoText(errno));
  }
}

}  // namespace chainfs::fusefs
